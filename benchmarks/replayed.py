"""Sections that measure the memory core, alone and against twins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from kernels import GIB, KIB, LINE, MIB, SECTOR, device, rate_of_accesses, reads, replay
from measured import Line, best, rate_of
from numpy.typing import NDArray
from twins import numba_hits, python_hits, set_groups_of

from simulator.core import counter
from simulator.memory.dram_pattern import DramBench


def tiles(quick: bool) -> Iterator[Line]:
    """Measure long reads of whole aligned tiles."""
    total = (2 if quick else 16) * GIB
    generator = np.random.default_rng(0)
    cases = {
        "16-KiB tiles from HBM": (np.arange(0, total, 16 * KIB), 16 * KIB),
        "64-KiB tiles from HBM": (np.arange(0, total, 64 * KIB), 64 * KIB),
        "16-KiB tiles, random of 24 MiB, from L2": (
            generator.integers(0, 24 * MIB // (16 * KIB), total // (16 * KIB)) * (16 * KIB),
            16 * KIB,
        ),
    }
    for name, (address, size) in cases.items():
        kernel = reads(address.astype(np.int64), size, ctas=264)
        wall, counters = min(((w, tuple(c)) for w, _, c in (replay(device(), kernel) for _ in range(3))))
        rate = counters[counter.LINES] / wall
        yield Line(name, f"{rate / 1e9:.2f} G lines/s", ">= 1 G lines/s", bool(rate >= 1e9))


def line_streams(quick: bool) -> Iterator[Line]:
    """Measure streams that come line by line."""
    count = 264 * (1024 if quick else 8192)
    address = np.arange(count) * LINE
    cases = {
        "lines in order, 32 lanes at once": reads(address, LINE, ctas=264, lanes=32),
        "16-KiB reads that begin a line late": reads(address[::128] + LINE, 16 * KIB, ctas=264),
        "lines in order, one at a time": reads(address[: count // 4], LINE, ctas=264),
    }
    for name, kernel in cases.items():
        shown, good = rate_of_accesses(kernel, LINE, 150e6)
        yield Line(name, shown, ">= 150 M lines/s", good)


def sectors(quick: bool) -> Iterator[Line]:
    """Measure irregular accesses, by the sectors that they move."""
    count = 400_000 if quick else 4_000_000
    generator = np.random.default_rng(0)
    wide = generator.integers(0, 16 * GIB // SECTOR, count) * SECTOR
    narrow = generator.integers(0, 24 * MIB // SECTOR, count) * SECTOR
    lines = generator.integers(0, 16 * GIB // LINE, count // 4) * LINE
    gather = generator.integers(0, 16 * GIB // SECTOR, count // 32) * SECTOR
    cases = {
        "32 lanes at once, random of 16 GiB": reads(wide, SECTOR, ctas=2112, lanes=32),
        "  the same through L1": reads(wide, SECTOR, ctas=2112, lanes=32, through_l1=True),
        "32 lanes at once, random of 24 MiB, in L2": reads(narrow, SECTOR, ctas=2112, lanes=32),
        "whole lines, 32 at once, random of 16 GiB": reads(lines, LINE, ctas=2112, lanes=32),
        "gathers of 32 sectors, 4 KiB apart": reads(gather, SECTOR, ctas=2112, rows=32, stride=4 * KIB),
        "one at a time, random of 16 GiB": reads(wide, SECTOR, ctas=2112),
        "one at a time, random of 24 MiB, in L2": reads(narrow, SECTOR, ctas=2112),
    }
    for name, kernel in cases.items():
        shown, good = rate_of_accesses(kernel, SECTOR, 50e6)
        yield Line(name, shown, ">= 50 M/s", good)


def dram_alone(quick: bool) -> Iterator[Line]:
    """Measure accesses to DRAM without caches or SMs before it: classification, timing and counters."""
    count = 100_000 if quick else 1_000_000
    rng = np.random.default_rng(2)
    anywhere = rng.integers(0, 8 << 30, count)
    order = np.arange(count)
    arrival = order * 1000
    writes = rng.random(count) < 0.5
    cases = {
        "sectors at random": (anywhere // SECTOR * SECTOR, SECTOR, False),
        "half of them writes": (anywhere // SECTOR * SECTOR, SECTOR, writes),
        "lines in order": (order * 128, 128, False),
        "whole line groups in order": (order * 4 * KIB, 4 * KIB, False),
        "whole line groups at random": (anywhere // (4 * KIB) * (4 * KIB), 4 * KIB, False),
    }
    for name, (address, size, write) in cases.items():
        bench = DramBench(device().hardware)
        bench.serve(address[:1], size, 0)  # compiles

        def timed(address=address, size=size, write=write, bench=bench) -> float:  # type: ignore[no-untyped-def]
            begin = time.process_time()
            bench.serve(address, size, arrival, write)
            return time.process_time() - begin

        yield Line(name, f"{best(timed, 3) / count * 1e9:.1f} ns/access")


def against_twins(quick: bool) -> Iterator[Line]:
    """Compare with line-by-line twins on one tile trace whose re-reads hit now and then."""
    size = 16 * KIB
    count = 20_000 if quick else 200_000
    few = 1_000 if quick else 8_000
    span = 96 * MIB
    address = np.random.default_rng(1).integers(0, span // size, count) * size
    parameters = device().parameters
    line_bytes = 1 << parameters.line_shift
    geometry = (
        set_groups_of(span >> parameters.group_shift, parameters),
        parameters.group_lines,
        parameters.l2_ways,
        line_bytes,
    )

    def simulated(part: NDArray[np.int64]) -> tuple[float, int]:
        wall, _, counters = replay(device(), reads(part, size, ctas=1))
        return wall, int(counters[counter.READ_SECTOR_HITS]) * SECTOR // line_bytes

    def twin(function: Callable[..., int], part: NDArray[np.int64]) -> tuple[float, int]:
        begin = time.process_time()
        hits = int(function(part, size, *geometry))
        return time.process_time() - begin, hits

    numba_hits(address[:1], size, *geometry)  # compiles
    ours, hits = min(simulated(address) for _ in range(3))
    lines = count * size // line_bytes
    yield Line(f"tile trace, {100 * hits / lines:.0f} % hits: tierscope, timing included", rate_of(lines, ours))
    seconds, twin_hits = min(twin(numba_hits, address) for _ in range(2))
    yield Line("  plain numba, line by line, no timing", f"{rate_of(lines, seconds)}, {seconds / ours:.0f} x slower")
    yield Line("  its hits", f"{twin_hits:,}", f"= {hits:,}", twin_hits == hits)
    lines = few * size // line_bytes
    seconds, twin_hits = twin(python_hits, address[:few])
    slower = seconds / few / (ours / count)
    yield Line("  plain Python, line by line, no timing", f"{rate_of(lines, seconds)}, {slower:,.0f} x slower")
    _, hits = simulated(address[:few])
    yield Line("  its hits", f"{twin_hits:,}", f"= {hits:,}", twin_hits == hits)
    yield pycachesim_loads(few * 8)


def pycachesim_loads(count: int) -> Line:
    """Measure loads of single lines, at random, through two levels of another cache simulator, without timing."""
    what = "  pycachesim, L1 and L2, random lines, no timing"
    try:
        import cachesim
    except ImportError:
        return Line(what, "not installed: pip install tierscope[caches]")
    parameters = device().parameters
    line_bytes = 1 << parameters.line_shift
    l2 = cachesim.Cache("L2", 25_600, 16, line_bytes, "LRU")
    l1 = cachesim.Cache("L1", 512, 4, line_bytes, "LRU", store_to=l2, load_from=l2)
    address = (np.random.default_rng(1).integers(0, 96 * MIB // line_bytes, count) * line_bytes).tolist()
    begin = time.process_time()
    l1.backend.iterload(address, line_bytes)
    seconds = time.process_time() - begin
    return Line(what, f"{count / seconds / 1e6:,.1f} M loads/s")
