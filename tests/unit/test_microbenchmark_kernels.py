"""Do the microbenchmarks' kernels touch the addresses, the bytes and the order that their sources do?"""

from __future__ import annotations

import numpy as np
import pytest

from simulator import hardware
from simulator.lowering import microbenchmark as kernels
from simulator.lowering.layout import FIRST_ADDRESS
from simulator.memory.occupancy import ctas_per_sm
from simulator.trace.record import Op, Records, TracedKernel

A100 = hardware.load("a100-sxm-80gb").spec
L40 = hardware.load("l40").spec
MI210 = hardware.load("mi210").spec


def records_of(kernel: TracedKernel) -> Records:
    records = Records.concatenate(kernel.chunks)
    size = records.rows.astype(np.int64) * records.row_bytes
    assert len(records) == kernel.header.records
    assert size[records.op == Op.READ].sum() == kernel.header.read_bytes
    assert size[records.op == Op.WRITE].sum() == kernel.header.write_bytes
    assert np.unique(records.requester).tolist() == list(range(kernel.header.requesters))
    assert (np.diff(records.requester) >= 0).all()
    assert (records.through_l1 == (records.op == Op.READ)).all()
    return records


@pytest.mark.parametrize(("nodes", "laps"), [(1, 5), (2, 3), (1000, 1), (1000, 2)])
def test_the_chase_is_one_cycle_through_every_node(nodes: int, laps: int) -> None:
    path = kernels.chase_path(nodes, laps * nodes, np.random.default_rng(1))
    for lap in path.reshape(laps, nodes):
        assert sorted(lap.tolist()) == list(range(nodes))
        assert (lap == path[:nodes]).all()
    if nodes == 1000:
        assert (np.diff(path[:nodes]) != 1).sum() > 900  # not in address order


def test_a_path_shorter_than_the_cycle_visits_no_node_twice() -> None:
    path = kernels.chase_path(10**9, 5000, np.random.default_rng(1))
    assert len(set(path.tolist())) == 5000
    assert path.min() >= 0 and path.max() < 10**9
    assert path.max() > 9 * 10**8


def test_each_hop_waits_for_the_one_before() -> None:
    path = np.array([3, 0, 2])
    records = records_of(kernel := kernels.pointer_chase(path, 128, 1))
    assert (records.address - FIRST_ADDRESS).tolist() == [384, 0, 256]
    assert records.row_bytes.tolist() == [8, 8, 8]
    assert records.barrier.all()
    assert (kernel.header.requesters, kernel.header.stages) == (1, 1)


@pytest.mark.parametrize(("device", "step"), [(A100, 1024), (MI210, 4096)])
def test_every_sm_reads_the_same_buffer_again_and_again(device: hardware.Hardware, step: int) -> None:
    records = records_of(kernels.same_buffer(device, 5 * step, first=3, count=10))
    assert len(records) == 10 * device.sm.count
    for cta in (0, device.sm.count - 1):
        places = (records.address[records.requester == cta] - FIRST_ADDRESS) // step
        assert places.tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1, 2]
    assert (records.row_bytes == step).all()


@pytest.mark.parametrize("size", [1024, 50_000, 16 << 10])
def test_the_warm_up_covers_the_buffer(size: int) -> None:
    records = records_of_warm(kernels.warm_buffer(A100, size, 2))
    one = records[records.requester == 7]
    pieces = sorted(zip(one.address.tolist(), one.row_bytes.tolist(), strict=True))
    assert sum(length for _, length in pieces) == 2 * size
    assert pieces[0][0] == FIRST_ADDRESS
    assert sum(pieces[-1]) == FIRST_ADDRESS + size


def records_of_warm(kernel: TracedKernel) -> Records:
    return Records.concatenate(kernel.chunks)


@pytest.mark.parametrize(("device", "piece", "loads"), [(A100, 8192, 32), (MI210, 16384, 24)])
def test_the_regions_of_a_shared_buffer_tile_it(device: hardware.Hardware, piece: int, loads: int) -> None:
    regions = 6
    records = records_of(kernels.shared_total(device, regions, first=4, count=regions))
    places = (records.address - FIRST_ADDRESS) // piece
    assert sorted(places.tolist()) == list(range(regions * loads))  # every piece once, whoever begins
    assert places[records.requester == 0].tolist() == [i * regions + 4 for i in range(loads)]
    assert (records.row_bytes == piece).all()


def test_residency_of_the_shared_buffer_loop() -> None:
    assert ctas_per_sm(A100.sm, kernels.shared_total(A100, 1, 0, 1).header) == 2
    assert ctas_per_sm(L40.sm, kernels.shared_total(L40, 1, 0, 1).header) == 1


@pytest.mark.parametrize("device", [A100, L40, MI210, hardware.load("v100-pcie-16gb").spec])
@pytest.mark.parametrize("threads", [32, 224, 768])
def test_two_ctas_of_a_stream_kernel_are_resident(device: hardware.Hardware, threads: int) -> None:
    assert ctas_per_sm(device.sm, kernels.stream(device, "scale", threads, 0, 1).header) == 2


@pytest.mark.parametrize(
    ("kind", "loads", "stores"),
    [("init", 0, 1), ("read", 1, 0), ("scale", 1, 1), ("triad", 2, 1), ("3pt", 3, 1), ("5pt", 5, 1)],
)
def test_stream_kernels_load_at_once_and_then_store(kind: str, loads: int, stores: int) -> None:
    records = records_of(kernels.stream(A100, kind, 64, first=2, count=3))
    one = records[records.requester == 1]
    assert one.op.tolist() == [Op.READ] * loads + [Op.WRITE] * stores
    assert one.joined.tolist() == [0, 1, 1, 1, 1][:loads] + [0] * stores
    assert one.barrier.tolist() == [0] * loads + [int(loads > 0)] * stores
    assert (one.row_bytes == 512).all()
    writes = records[records.op == Op.WRITE]
    assert (writes.address - FIRST_ADDRESS).tolist() == ([1024, 1536, 2048] if stores else [])


def test_a_stencil_reads_its_neighbours() -> None:
    records = records_of(kernels.stream(A100, "5pt", 64, first=0, count=2))
    reads = records[(records.op == Op.READ) & (records.requester == 1)]
    offsets = reads.address - FIRST_ADDRESS - kernels.ARRAY_SPACING - 512
    assert offsets.tolist() == [-16, -8, 0, 8, 16]


@pytest.mark.parametrize("elements", [1, 4096, 100_001])
def test_scale_covers_every_element_once_and_turns_round(elements: int) -> None:
    there, back = (records_of(kernels.scale(A100, elements, 256, *pair)) for pair in ((0, 1), (1, 0)))
    for records in (there, back):
        for op in (Op.READ, Op.WRITE):
            part = records[records.op == op]
            ends = part.address + part.row_bytes
            assert (part.address[1:] == ends[:-1]).all()
            assert part.row_bytes.sum() == elements * 8
    reading, writing = (there[there.op == op].address for op in (Op.READ, Op.WRITE))
    assert (back[back.op == Op.WRITE].address == reading).all()
    assert (back[back.op == Op.READ].address == writing).all()
    assert abs(int(reading[0]) - int(writing[0])) >= elements * 8
