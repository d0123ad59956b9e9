"""Locality on random traces, against the slow twins.

Invariants: every access has the reuse distance that a list as LRU stack gives it, at every granularity; the miss-ratio
curve is that of a simulated fully associative LRU cache at every capacity; working sets are the distinct units counted
window by window; an access is a first touch or a reuse, and shared with exactly one kind of former owner; the order
in which chunks are cut and memory is renumbered on the way changes nothing.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_reuse import Touch, lru_misses, mean_distinct, reuse_distances, units_of

from simulator.analysis import reuse
from simulator.analysis.locality import Locality, locality
from simulator.analysis.order import Order
from simulator.trace.record import KernelHeader, Records, TensorRange, TracedKernel, TraceHeader

UNITS = {"sector": 32, "line": 128, "tile": 4096}
TENSORS = (TensorRange("w", "weights", 0, 9000), TensorRange("x", "activations", 12288, 4096))


def header(requesters: int, records: int, name: str = "k", operator: str = "gemm") -> KernelHeader:
    return KernelHeader(name, operator, -1, 0, requesters, 32, 0, 0, 4, 0, records, 0, 0)


def kernels_of(touches: list[Touch], cut: int = 1 << 30) -> list[TracedKernel]:
    """Return kernels of these accesses, sorted by launch and requester, each CTA a chunk where `cut` says so."""
    kernels = []
    for launch in range(max(t.launch for t in touches) + 1):
        mine = sorted((t for t in touches if t.launch == launch), key=lambda t: t.requester)
        if not mine:
            continue
        whole = Records.of(
            len(mine),
            requester=np.array([t.requester for t in mine]),
            address=np.array([t.address for t in mine]),
            row_bytes=np.array([t.size for t in mine]),
        )
        edges = np.flatnonzero(np.diff(whole.requester)) + 1
        parts = np.split(np.arange(len(mine)), edges[::1] if cut == 1 else [])
        chunks = tuple(whole[part] for part in parts)
        kernels.append(TracedKernel(header(len(edges) + 1, len(mine), f"k{launch}", f"op{launch % 2}"), chunks))
    return kernels


def in_program_order(touches: list[Touch]) -> list[Touch]:
    return sorted(touches, key=lambda t: (t.launch, t.requester))


TOUCHES = st.lists(
    st.builds(
        Touch,
        launch=st.integers(0, 3),
        requester=st.integers(0, 2),
        address=st.one_of(st.integers(0, 40000), st.integers(0, 6).map(lambda page: page * 4096)),
        size=st.one_of(st.integers(1, 300), st.sampled_from([32, 128, 4096, 8192, 10000])),
    ),
    min_size=1,
    max_size=25,
)


def measured(touches: list[Touch], cut: int = 1 << 30) -> Locality:
    total = sum(t.size for t in touches)
    return locality(TraceHeader(tensors=TENSORS), kernels_of(touches, cut), Order(), UNITS, total)


@settings(max_examples=60, deadline=None)
@given(TOUCHES)
def test_reuse_distances_are_those_of_a_list(touches: list[Touch]) -> None:
    found = measured(touches)
    for granularity, unit in UNITS.items():
        at = found.at(granularity)
        expected = reuse_distances(units_of(in_program_order(touches), unit))
        known = Counter(distance for distance in expected if distance is not None)
        whole = at.of()
        assert at.accesses == whole.accesses == len(expected)
        assert whole.sharing.first_touches == expected.count(None) == at.footprint_bytes // unit
        assert sum(whole.distance_accesses) == sum(known.values())
        capacities = {distance + 1 for distance in known}
        assert set((at.curve.capacity_bytes // unit).tolist()) == capacities | {0}
        exact = {d: n for d, n in known.items() if d < 64}
        bins = zip(whole.distance_bytes, whole.distance_accesses, strict=True)
        assert {d // unit: n for d, n in bins if d // unit < 64} == exact


@settings(max_examples=40, deadline=None)
@given(TOUCHES, st.lists(st.integers(1, 900), min_size=3, max_size=3))
def test_the_curve_is_the_simulated_cache(touches: list[Touch], capacities: list[int]) -> None:
    found = measured(touches)
    for granularity, unit in UNITS.items():
        units = units_of(in_program_order(touches), unit)
        for capacity in (1, 2, 5, *capacities):
            ratio = found.at(granularity).curve.at(capacity * unit)
            assert ratio * len(units) == pytest.approx(lru_misses(units, capacity), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(TOUCHES)
def test_working_sets_are_counted_window_by_window(touches: list[Touch]) -> None:
    found = measured(touches)
    for granularity, unit in UNITS.items():
        units = units_of(in_program_order(touches), unit)
        its = found.at(granularity).working_set
        pairs = list(zip(its.window_bytes, its.mean_bytes, strict=True))
        for window, mean in pairs[:: max(1, len(pairs) // 6)] + pairs[-1:]:
            assert mean / unit == pytest.approx(mean_distinct(units, window // unit))
        starts = [start // unit for start in its.start_bytes]
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(units)], strict=True)):
            assert its.touched_bytes[i] // unit == len(set(units[start:end]))
            assert its.new_bytes[i] // unit == len(set(units[start:end]) - set(units[:start]))


@settings(max_examples=30, deadline=None)
@given(TOUCHES)
def test_sharing_and_classes_add_up(touches: list[Touch]) -> None:
    found = measured(touches)
    for at in found.reuse:
        parts = [entry for entry in at.classes if entry.kernel_class and entry.tensor_class]
        assert sum(entry.accesses for entry in parts) == at.accesses
        whole = at.of().sharing
        assert whole.first_touches + whole.same_cta + whole.same_sm + whole.other_sm + whole.other_kernel == at.accesses
        assert whole.other_sm == 0  # program order knows one SM
        assert sum(flow.bytes for flow in at.flows) == whole.other_kernel * at.unit_bytes
        owners: dict[int, tuple[int, int]] = {}
        counts: Counter[str] = Counter()
        for touch in in_program_order(touches):
            for unit in units_of([touch], at.unit_bytes):
                before, owner = owners.get(unit), (touch.launch, touch.requester)
                new = before is None
                same = before == owner
                kind = "first" if new else "cta" if same else "kernel" if before[0] != owner[0] else "sm"  # type: ignore[index]
                counts[kind] += 1
                owners[unit] = owner
        assert counts["cta"] == whole.same_cta
        assert counts["sm"] == whole.same_sm
        assert counts["kernel"] == whole.other_kernel


@settings(max_examples=25, deadline=None)
@given(TOUCHES, st.integers(0, 1 << 30))
def test_small_chunks_and_little_room_change_nothing(touches: list[Touch], seed: int) -> None:
    plain = measured(touches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "FIRST_PAGES", 1 << (seed % 3))
        patch.setattr(reuse, "FIRST_PARTS", 1)
        patch.setattr(reuse, "FIRST_SLOTS", 64)
        cramped = measured(touches, cut=1)
    for one, other in zip(plain.reuse, cramped.reuse, strict=True):
        assert one.classes == other.classes
        assert one.working_set == other.working_set
        assert one.flows == other.flows
        assert np.array_equal(one.curve.miss_ratio, other.curve.miss_ratio)


@pytest.mark.parametrize("reach", [40, 400, 40000])
def test_visits_of_one_unit_are_counted_as_any_others(reach: int) -> None:
    """Gathers of single sectors, some of them twice in a row, before and after kernels that read runs."""
    rng = np.random.default_rng(reach)
    touches = []
    for launch in range(6):
        for requester in range(3):
            starts = rng.integers(0, reach, 150) * 32
            sizes = np.full(150, 32) if launch % 3 else rng.choice([32, 128, 1024, 4096], 150)
            pairs = zip(starts.tolist(), sizes.tolist(), strict=True)
            touches += [Touch(launch, requester, start, size) for start, size in pairs]
            touches += touches[-1:]
    found = measured(touches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "are_single", lambda visits, count: False)
        plain = measured(touches)
    for one, other in zip(plain.reuse, found.reuse, strict=True):
        assert one.classes == other.classes
        assert one.working_set == other.working_set
        assert one.flows == other.flows
        assert np.array_equal(one.curve.miss_ratio, other.curve.miss_ratio)
