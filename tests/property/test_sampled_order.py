"""A sample taken straight from records, against one taken from all accesses in turn.

Invariants: both see the same visits in the same order, so distances, sharing, flows and footprint are equal, whatever
the records (rows, strides, lanes that are joined), the number of CTAs resident at once and the chunks; so is time where
CTAs come one after the other, and otherwise it differs by no more than a round of turns.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import hardware
from simulator.analysis.locality import MOST_CLASSES, locality, tensor_space
from simulator.analysis.order import Ctas, Order, Program, interleaved
from simulator.analysis.reuse import Counted, ReuseCounter
from simulator.trace.record import KernelHeader, Records, TensorRange, TracedKernel, TraceHeader

HEADER = TraceHeader(tensors=(TensorRange("w", "weights", 0, 90_000), TensorRange("x", "activations", 1 << 17, 4096)))
FEW_SMS = hardware.load("h100-sxm", ("sm.count=2", "sm.ctas=2")).spec

RECORD = st.tuples(
    st.integers(0, 300_000),  # address
    st.integers(1, 4),  # rows
    st.sampled_from([1, 32, 100, 128, 5000]),  # bytes of a row
    st.sampled_from([0, 64, 100, 128, 4096, 9000]),  # stride
    st.booleans(),  # joined
)
KERNEL = st.lists(st.lists(RECORD, min_size=1, max_size=8), min_size=1, max_size=9)  # CTAs


def traced(ctas: list[list[tuple[int, int, int, int, bool]]], number: int, per_chunk: int) -> TracedKernel:
    rows = [(cta, *record) for cta, records in enumerate(ctas) for record in records]
    names = ("requester", "address", "rows", "row_bytes", "row_stride", "joined")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    whole = Records.of(len(rows), **columns)
    chunks = [
        whole[(whole.requester >= first) & (whole.requester < first + per_chunk)]
        for first in range(0, len(ctas), per_chunk)
    ]
    header = KernelHeader(f"k{number}", f"op{number % 2}", -1, 0, len(ctas), 32, 0, 0, 4, 0, len(rows), 0, 0)
    return TracedKernel(header, tuple(chunks))


def in_turn(kernels: list[TracedKernel], order: Order, unit: int, shift: int, window: int) -> Counted:
    """Count the accesses of all records, in turn, that fall on sampled pages."""
    space, names = tensor_space(HEADER.tensors)
    counter = ReuseCounter(unit, space, MOST_CLASSES, len(names), window, shift, False)
    for launch, kernel in enumerate(kernels):
        space.launches[launch] = min(launch, 1)
        programs = (Program.of(chunk, Ctas.of(chunk)) for chunk in kernel.chunks)
        for runs in interleaved(kernel, launch, order, programs):
            counter.add(runs, min(launch, 1))
    return counter.finish()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(KERNEL, min_size=1, max_size=2),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([32, 128, 4096, 16384]),
    st.booleans(),
)
def test_a_sample_is_the_same_straight_from_records(
    kernels: list[list[list[tuple[int, int, int, int, bool]]]], shift: int, per_chunk: int, unit: int, waves: bool
) -> None:
    made = [traced(ctas, number, per_chunk) for number, ctas in enumerate(kernels)]
    order = Order(FEW_SMS if waves else None)
    total = sum(int((chunk.rows * chunk.row_bytes).sum()) for kernel in made for chunk in kernel.chunks)
    (found,) = locality(HEADER, made, order, {"unit": unit}, total, 2.0**-shift).reuse
    twin = in_turn(made, order, unit, shift, -(-total // 128))
    assert found.accesses == twin.accesses
    assert found.footprint_bytes == twin.first_touches * unit
    if not twin.first_touches:
        return  # no page was sampled
    whole = found.of()
    distances = twin.distances.sum(axis=(0, 1))
    assert list(whole.distance_accesses) == distances[distances > 0].tolist()
    origins = twin.origins.sum(axis=(0, 1))
    assert [getattr(whole.sharing, field.name) for field in fields(whole.sharing)] == origins.tolist()
    assert sum(flow.bytes for flow in found.flows) == twin.flows.sum() * unit
    mean = found.working_set.mean_bytes
    assert mean[-1] == found.footprint_bytes  # gaps add up to the whole
    assert min(mean) >= 0
    if waves:
        return
    assert [found.working_set.start_bytes[-1], found.working_set.new_bytes[-1]] == (
        twin.windows[-1, [0, 2]] * unit
    ).tolist()
    assert sum(found.working_set.touched_bytes) == twin.windows[:, 1].sum() * unit
