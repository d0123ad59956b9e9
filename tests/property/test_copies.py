"""Do copies between tiers keep the laws that hold whatever the numbers?

- Every byte asked for is moved, once.
- No server exceeds its rate, so that no copy beats link, host DRAM or SSD, or its own latency.
- A larger copy never ends earlier; another copy in flight never makes one end earlier.
- Copies in opposite directions only meet in host DRAM.
- Advancing in pieces changes nothing; the core as Python does what it does compiled.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import hardware, theory
from simulator.core import dma
from simulator.hardware import Hardware
from simulator.memory.copies import HostCopies, Path, Server, laid_out, routes
from simulator.run.copies import Direction, both_ways_bandwidth, copy_bandwidth, copy_time_ps
from simulator.units import PS_PER_S
from simulator.validation.suites import curve_of, microbenchmarks, select
from simulator.validation.targets import Target

LINKS = ("pcie3", "pcie4", "pcie5", "pcie6", "nvlink-c2c", "cxl2", "cxl3")
HOST_PATHS = (Path.FROM_DRAM, Path.TO_DRAM)
SIZES = st.integers(1, 1 << 24)


def device(*overrides: str) -> Hardware:
    return hardware.load("h100-sxm", overrides).spec


SPECS = {link: device(f"link.kind={link}") for link in LINKS}


def end_of(spec: Hardware, path: Path, size: int, run_bytes: int = 0) -> int:
    copies = HostCopies(spec)
    copies.start(path, size, 0, run_bytes)
    return copies.next_ps


def ends(spec: Hardware, sizes: dict[Path, int], pieces: list[int]) -> tuple[dict[Path, int], list[int], list[int]]:
    """Return when copies begun together end, advancing at most to each of `pieces` on the way, and what they moved."""
    copies = HostCopies(spec)
    for path, size in sizes.items():
        copies.start(path, size, 0)
    found: dict[Path, int] = {}
    stops = sorted(pieces)
    while len(found) < len(sizes):
        upcoming = copies.next_ps
        while stops and stops[0] < upcoming:
            assert copies.advance(stops.pop(0)) == []
            assert copies.next_ps == upcoming
        found |= dict.fromkeys(copies.advance(upcoming), upcoming)
    return found, copies.moved_bytes, copies.busy_ps


COPIES = st.dictionaries(st.sampled_from(list(Path)), SIZES, min_size=1)


@settings(max_examples=60, deadline=None)
@given(link=st.sampled_from(LINKS), sizes=COPIES, pieces=st.lists(st.integers(1, 10**10), max_size=8))
def test_bytes_are_conserved_and_no_server_beats_its_rate(link: str, sizes: dict[Path, int], pieces: list[int]) -> None:
    spec = SPECS[link]
    found, moved, busy = ends(spec, sizes, pieces)
    assert {path: moved[path] for path in Path if moved[path]} == sizes
    last = max(found.values())
    assert all(worked <= last for worked in busy)
    assert spec.link is not None
    inward = sum(size for path, size in sizes.items() if path.to_device)
    assert inward * PS_PER_S <= spec.link.to_device_bytes_per_s * last
    outward = sum(sizes.values()) - inward
    assert outward * PS_PER_S <= spec.link.to_host_bytes_per_s * last


@settings(max_examples=60, deadline=None)
@given(link=st.sampled_from(LINKS), sizes=COPIES, pieces=st.lists(st.integers(1, 10**10), max_size=8))
def test_stopping_on_the_way_changes_nothing(link: str, sizes: dict[Path, int], pieces: list[int]) -> None:
    assert ends(SPECS[link], sizes, pieces) == ends(SPECS[link], sizes, [])


@settings(max_examples=60, deadline=None)
@given(
    link=st.sampled_from(LINKS),
    path=st.sampled_from(list(Path)),
    size=SIZES,
    run_bytes=st.sampled_from([0, 4096]),
    pieces=st.lists(st.integers(1, 10**9), max_size=4),
)
def test_alone_a_path_does_what_it_does_event_by_event(
    link: str, path: Path, size: int, run_bytes: int, pieces: list[int]
) -> None:
    """Beside a copy that begins long after, each event is looked for among those of both."""
    alone, beside = HostCopies(SPECS[link]), HostCopies(SPECS[link])
    beside.start(next(other for other in HOST_PATHS if other != path), 1, 1 << 50)
    for copies in (alone, beside):
        copies.start(path, size, 0, run_bytes)
    end = alone.next_ps
    assert beside.next_ps == end
    for until in [*sorted(piece for piece in pieces if piece < end), end]:
        assert alone.advance(until) == beside.advance(until) == ([path] if until == end else [])
        assert alone.moved_bytes == beside.moved_bytes
        assert alone.busy_ps == beside.busy_ps


@settings(max_examples=60, deadline=None)
@given(link=st.sampled_from(LINKS), sizes=COPIES)
def test_company_never_helps(link: str, sizes: dict[Path, int]) -> None:
    together, _, _ = ends(SPECS[link], sizes, [])
    assert all(together[path] >= end_of(SPECS[link], path, size) for path, size in sizes.items())


@settings(max_examples=60, deadline=None)
@given(
    link=st.sampled_from(LINKS),
    path=st.sampled_from(list(Path)),
    size=SIZES,
    more=st.integers(1, 1 << 20),
    run_bytes=st.sampled_from([0, 256, 4096]),
)
def test_a_larger_copy_never_ends_earlier(link: str, path: Path, size: int, more: int, run_bytes: int) -> None:
    assert end_of(SPECS[link], path, size, run_bytes) <= end_of(SPECS[link], path, size + more, run_bytes)


def test_both_directions_only_share_host_dram() -> None:
    spec = device("host.bandwidth=100 TB/s")
    size = 64 << 20
    alone = {path: end_of(spec, path, size) for path in HOST_PATHS}
    together, _, _ = ends(spec, dict.fromkeys(HOST_PATHS, size), [])
    assert together == pytest.approx(alone, rel=1e-3)
    slow = device("host.bandwidth=60 GB/s")  # less than the two directions of PCIe 5 ask for
    assert max(ends(slow, dict.fromkeys(HOST_PATHS, size), [])[0].values()) == pytest.approx(
        2 * size * PS_PER_S / 60e9, rel=0.01
    )


def test_few_chunks_in_flight_bound_the_rate_by_little() -> None:
    spec = device("link.queue_depth=1", "link.chunk=4 KiB")
    assert spec.link is not None and spec.host is not None
    rates = (spec.link.to_device_bytes_per_s, spec.host.bandwidth_bytes_per_s, spec.hbm.peak_bytes_per_s)
    latency = 2 * spec.link.latency_ps + spec.host.latency_ps
    expected = theory.staged_copy_ps(1 << 22, 0, 4096, latency, rates)
    assert end_of(spec, Path.FROM_DRAM, 1 << 22) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("size", [64, 1 << 16, 1 << 20, 1 << 28])
def test_a_pinned_copy_takes_set_up_latency_and_size_over_rate(link: str, size: int) -> None:
    spec = SPECS[link]
    assert spec.link is not None and spec.host is not None
    fixed = spec.host.setup_pinned_ps + spec.host.completion_ps
    inward = (2 * spec.link.latency_ps + spec.host.latency_ps, spec.link.to_device_bytes_per_s)
    outward = (spec.link.latency_ps + spec.host.latency_ps, spec.link.to_host_bytes_per_s)
    for direction, (latency, rate) in ((Direction.TO_DEVICE, inward), (Direction.TO_HOST, outward)):
        expected = theory.pipelined_copy_ps(size, fixed, latency, (rate, spec.host.bandwidth_bytes_per_s))
        # the first chunk crosses the servers one after the other
        filling = min(size, spec.link.chunk_bytes) * PS_PER_S / spec.host.bandwidth_bytes_per_s * 1.2
        assert 0 <= copy_time_ps(spec, size, direction) - expected <= filling + size * PS_PER_S / rate * 1e-3


def test_a_pageable_copy_goes_through_the_bounce_buffer_chunk_by_chunk() -> None:
    spec = SPECS["pcie3"]
    assert spec.link is not None and spec.host is not None
    host, size = spec.host, 1 << 24
    rates = (
        host.memcpy_bytes_per_s,
        spec.link.to_host_bytes_per_s,
        host.bandwidth_bytes_per_s / 3,
        spec.hbm.peak_bytes_per_s,
    )
    latency = spec.link.latency_ps + host.latency_ps + host.completion_ps
    expected = theory.staged_copy_ps(size, host.setup_pageable_ps, host.staging_bytes, latency, rates)
    assert copy_time_ps(spec, size, Direction.TO_HOST, pinned=False) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("path", list(Path))
def test_the_core_as_python_is_the_core_compiled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["pcie4"]
    sizes = {path: 1_000_003, Path.TO_DRAM: 300_000, Path.FROM_SSD: 777_777}
    compiled = ends(spec, sizes, [])
    for name in ("chunk_size", "slot_of", "issue", "serve", "only_path", "run_alone"):
        monkeypatch.setattr(dma, name, getattr(dma, name).py_func)
    state, paths = dma.new_copies(len(Path), len(Server)), laid_out(routes(spec))
    for each, size in sizes.items():
        dma.start_copy.py_func(state, paths, int(each), size, size, 0)  # type: ignore[attr-defined]
    found = dict(dma.advance_copies.py_func(state, paths, 1 << 60) for _ in sizes)  # type: ignore[attr-defined]
    assert found == compiled[0]
    assert state.moved.tolist() == compiled[1]


COPIES_MEASURED = select(["copy"])


@pytest.mark.parametrize("target", COPIES_MEASURED, ids=lambda target: f"{target.device} {target.variant}")
def test_copies_over_pcie3_are_as_measured(target: Target) -> None:
    assert len(curve_of(target).points) >= 15
    report = microbenchmarks([target])
    assert report["checks"][0]["error"] < 0.12 and report["passed"]


def test_the_set_up_of_another_host_would_not_do() -> None:
    size, measured = next(point for point in curve_of(COPIES_MEASURED[0]).points if point[0] == 4)
    for host, low, high in (("xeon-ddr4-34us", 0.0, 0.05), ("xeon-ddr4", 2.0, 10.0)):
        spec = hardware.load("v100-pcie-16gb", [f"host.kind={host}"]).spec
        predicted = copy_bandwidth(spec, int(size * 1024), Direction.TO_DEVICE) / 1e9
        assert low <= abs(predicted / measured - 1) < high


@pytest.mark.parametrize("link", LINKS)
def test_both_ways_at_once_move_more_than_one_and_no_more_than_both(link: str) -> None:
    spec, size = SPECS[link], 1 << 26
    each = [copy_bandwidth(spec, size, way) for way in Direction]
    assert max(each) < both_ways_bandwidth(spec, size) <= sum(each) * 1.001
