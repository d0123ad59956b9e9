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
from naive import LINE, SECTOR, NaiveL2, hashed

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
                if known and kind == "reads":
                    self.refetched[its, self.culprits.get(number)] += 1
            self.reasons[kind, its, reason] += 1
            self.touched.add(number * 4 + sector)
        self.held[number] = twin | sectors
        if len(self.held) > self.sets * self.ways:
            self.held.popitem(last=False)
        if line is None and len(ways) == self.ways:
            self.culprits[ways[-1].number] = its
        super()._line(op, number, sectors)


class L1Twin(Twin):
    """An L1, whose sets are hashed line by line."""

    def _set_of(self, number: int) -> int:
        turn, place = divmod(number, self.sets)
        return (place + hashed(turn, self.sets)) % self.sets


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
    assert found.capacity_bytes["l2"] == sets * ways * LINE
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
            if kind == "writes":
                assert sum(p.hit_bytes for p in parts) == counters["WRITE_SECTOR_HITS"] * SECTOR
            else:
                assert sum(p.hit_bytes for p in parts) == counters["READ_SECTOR_HITS"] * SECTOR
            if kind == "reads":
                again = sum(p.capacity_bytes + p.conflict_bytes for p in parts)
                assert again == sum(row.bytes for row in found.refetched)
        assert all(1 <= fill.sectors_per_line <= 4 for fill in found.lines)


def l1_of(sets: int, ways: int) -> dict[str, object]:
    return {"sm.count": 2, "sm.ctas": 1, "l1.ways": ways, "l1.size": f"{sets * ways * LINE} B"}


@pytest.mark.parametrize(("sets", "ways"), [(32, 2), (64, 1)])
def test_each_l1_has_twins_of_its_own(sets: int, ways: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CTAs on two SMs, one kernel after the other: what one SM has read is compulsory for the other, and again for
    the next kernel."""
    monkeypatch.setattr(hits, "FIRST_NODES", 2)
    ctas = [
        [
            access._replace(through_l1=access.op is Op.READ, barrier=True)
            for access in patterns.mixed(seed, 300, sets, ways, reach=2.0)
        ]
        for seed in (1, 2)
    ]
    expected: Counter[tuple[str, str, str]] = Counter()
    for cta in [*ctas, *ctas]:
        twin = L1Twin(sets, ways, SECTOR)
        for access in cta:
            for row in range(access.rows):
                if access.through_l1:
                    twin.access(access.op, access.address + row * access.stride, access.size)
        expected += twin.reasons
    explainer = HitExplainer(TraceHeader(tensors=TENSORS))
    device = Device(datasheet.device({"l2.partitions": 1} | l1_of(sets, ways)).hardware, observer=explainer)
    counters = datasheet.run_all(device, [datasheet.kernel(*ctas)] * 2).counters
    found = explainer.finish()
    rows = [row for row in found.kernels if row.tier == "sram"]
    reasons = Counter(
        {
            ("reads", row.tensor_class, name.removesuffix("_bytes")): size // SECTOR
            for row in rows
            for name, size in asdict(row.reads).items()
        }
    )
    assert +reasons == expected
    assert {why for _, _, why in expected} == {"hit", "compulsory", "capacity", "conflict", "kept"}
    missed = sum(n for (_, _, why), n in expected.items() if why not in ("hit", "kept"))
    assert missed == counters["L1_SECTOR_MISSES"]
    again = sum(n for (_, _, why), n in expected.items() if why in ("capacity", "conflict"))
    refetched = [row for row in found.refetched if row.tier == "sram"]
    assert sum(row.bytes for row in refetched) == again * SECTOR
    assert all(row.evicted_by == "bench" for row in refetched), "an L1 loses lines to its own kernel alone"


def test_sectors_touched_per_line_worked_by_hand() -> None:
    """One line of which two sectors are read, evicted by a whole one; then the first again, of which one is read."""
    a, b = patterns.BASE, patterns.BASE + 64 * LINE
    reads = [Access(a, 64, barrier=True), Access(b, LINE, barrier=True), Access(a + 96, 32, barrier=True)]
    found, _ = explained(datasheet.cache_of(1, 1), datasheet.kernel(reads))
    (use,) = [row for row in found.lines if row.tier == "l2"]
    assert (use.tensor_class, use.lines, use.sectors_per_line) == ("weights", 3, pytest.approx((2 + 4 + 1) / 3))
