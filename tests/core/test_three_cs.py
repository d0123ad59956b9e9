"""Is every miss given its right reason, and every fetch from memory of what had been in L2 its right culprit?

The twin: the set-associative cache of `naive`, and beside it dictionaries that hold every sector ever touched, and the
lines that a fully associative LRU cache of the same size holds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass, field

import access_patterns as patterns
import datasheet
import pytest
from datasheet import Access
from naive import LINE, SECTOR, NaiveL2

from simulator.analysis import hits
from simulator.analysis.hits import HitExplainer, Hits
from simulator.memory import Device
from simulator.trace.record import Op, TensorRange, TracedKernel, TraceHeader

SPLIT = patterns.BASE + 40 * 4096
TENSORS = (
    TensorRange("w", "weights", patterns.BASE, SPLIT - patterns.BASE),
    TensorRange("x", "activations", SPLIT, 1 << 30),
)


@dataclass
class Twin(NaiveL2):
    """A cache that says why it misses."""

    touched: set[int] = field(default_factory=set)
    held: OrderedDict[int, set[int]] = field(default_factory=OrderedDict)  # fully associative: line, valid sectors
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    culprits: dict[int, str] = field(default_factory=dict)
    refetched: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def _line(self, op: Op, number: int, sectors: set[int]) -> None:
        ways = self.content.setdefault(self._set_of(number), [])
        line = next((line for line in ways if line.number == number), None)
        found = sectors & line.valid if line else set()
        twin = self.held.pop(number, set())
        kind = "writes" if op in (Op.WRITE, Op.REDUCE) else "reads"
        its = "weights" if number * LINE < SPLIT else "activations"
        for sector in sectors:
            known = number * 4 + sector in self.touched
            if sector in found:
                reason = "hit"
                self.reasons[kind, its, "kept"] += known and sector not in twin
            else:
                reason = "compulsory" if not known else "conflict" if sector in twin else "capacity"
                if known:
                    self.refetched[its, self.culprits.get(number)] += 1
            self.reasons[kind, its, reason] += 1
            self.touched.add(number * 4 + sector)
        self.held[number] = twin | sectors
        if len(self.held) > self.sets * self.ways:
            self.held.popitem(last=False)
        if line is None and len(ways) == self.ways:
            self.culprits[ways[-1].number] = its
        super()._line(op, number, sectors)


def explained(changes: dict[str, object], kernel: TracedKernel) -> tuple[Hits, dict[str, int]]:
    explainer = HitExplainer(TraceHeader(tensors=TENSORS))
    device = Device(datasheet.device(changes).hardware, observer=explainer)
    counters = datasheet.run(device, kernel).counters
    return explainer.finish(), counters


@pytest.mark.parametrize(("sets", "ways"), [(32, 2), (16, 1), (20, 7), (1, 8)])
@pytest.mark.parametrize("seed", [1, 2])
def test_reasons_and_culprits_are_the_twin_s(sets: int, ways: int, seed: int) -> None:
    accesses = patterns.mixed(seed, 500, sets, ways, reach=1.5 if seed == 1 else 3.0)
    twin = Twin(sets, ways, SECTOR)
    for access in accesses:
        for row in range(access.rows):
            twin.access(access.op, access.address + row * access.stride, access.size)
    found, counters = explained(datasheet.cache_of(sets, ways), datasheet.kernel(accesses))
    assert found.capacity_bytes == sets * ways * LINE
    reasons = {
        (kind, row.tensor_class, name.removesuffix("_bytes")): size // SECTOR
        for row in found.kernels
        for kind in ("reads", "writes")
        for name, size in asdict(getattr(row, kind)).items()
        if size
    }
    assert reasons == {key: count for key, count in twin.reasons.items() if count}
    assert {(r.tensor_class, r.evicted_for): r.bytes // SECTOR for r in found.refetched} == dict(twin.refetched)
    assert (
        sum(n for (kind, _, why), n in reasons.items() if kind == "reads" and why not in ("hit", "kept"))
        == (counters["READ_SECTOR_MISSES"])
    )
    if seed == 2 and sets > 1:
        assert {why for _, _, why in reasons} == {"hit", "compulsory", "capacity", "conflict", "kept"}


def test_three_misses_worked_by_hand() -> None:
    """Two sets of one line.  Lines a and b share a set, c has the other: a b a is a conflict, since two lines fit a
    fully associative cache; a b c a one of capacity, for that cache too has lost a by then."""
    twin = NaiveL2(2, 1, SECTOR)
    numbers = range(patterns.BASE // LINE, patterns.BASE // LINE + 64)
    a = numbers[0]
    b = next(n for n in numbers[1:] if twin._set_of(n) == twin._set_of(a))
    c = next(n for n in numbers if twin._set_of(n) != twin._set_of(a))
    for lines, conflict, capacity in (((a, b, a), 128, 0), ((a, b, c, a), 0, 128), ((a, c, a), 0, 0)):
        kernel = datasheet.kernel([Access(n * LINE, LINE, barrier=True) for n in lines])
        found, _ = explained(datasheet.cache_of(2, 1), kernel)
        reads = [row.reads for row in found.kernels]
        assert sum(r.conflict_bytes for r in reads) == conflict
        assert sum(r.capacity_bytes for r in reads) == capacity
        assert sum(r.compulsory_bytes for r in reads) == 128 * len(set(lines))
        assert sum(row.bytes for row in found.refetched) == conflict + capacity


@pytest.mark.parametrize("partitions", [1, 2])
def test_reasons_add_up_to_the_counters(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many CTAs, two partitions, policies that are not LRU, little room at first."""
    monkeypatch.setattr(hits, "FIRST_PAGES", 2)
    monkeypatch.setattr(hits, "FIRST_PARTS", 1)
    for replacement in ("lru", "srrip", "random"):
        ctas = [patterns.mixed(seed, 60, 64, 4) for seed in range(8)]
        changes = {"sm.count": 4, "sm.ctas": 2, "l2.partitions": partitions, "l2.ways": 4, "l2.size": "64 KiB"}
        found, counters = explained(changes | {"l2.replacement": replacement}, datasheet.kernel(*ctas))
        for kind, name in (("reads", "READ"), ("writes", "WRITE")):
            parts = [getattr(row, kind) for row in found.kernels]
            missed = sum(p.compulsory_bytes + p.capacity_bytes + p.conflict_bytes for p in parts)
            assert missed == counters[f"{name}_SECTOR_MISSES"] * SECTOR > 0
            again = sum(p.capacity_bytes + p.conflict_bytes for p in parts)
            if kind == "writes":
                assert sum(p.hit_bytes for p in parts) == counters["WRITE_SECTOR_HITS"] * SECTOR
            else:
                assert sum(p.hit_bytes for p in parts) == counters["READ_SECTOR_HITS"] * SECTOR
            assert again <= sum(row.bytes for row in found.refetched)
        assert all(1 <= fill.sectors_per_line <= 4 for fill in found.evicted)
