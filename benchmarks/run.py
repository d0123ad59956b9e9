"""Measures tierscope against its budgets and against naive twins: python benchmarks/run.py [--quick].

See benchmarks/README.md for what each line means.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from twins import numba_hits, python_hits, set_groups_of

from simulator.analysis.locality import locality
from simulator.analysis.order import Order
from simulator.cli.run import build_request
from simulator.core import counter
from simulator.hardware import load
from simulator.memory import Device
from simulator.memory.dram_pattern import DramBench
from simulator.run.execute import prepare
from simulator.run.generate import Trace
from simulator.run.simulate import simulate
from simulator.trace.chunks import CHUNK_RECORDS
from simulator.trace.record import COLUMNS, KernelHeader, Op, Records, TracedKernel

ROOT = Path(__file__).resolve().parents[1]
KIB, MIB, GIB = 2**10, 2**20, 2**30
SECTOR = 32

DECODE_8B = ("--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--phase", "decode", "--context", "4096")
DECODE_70B = ("--model", "llama-3.1-70b", "--hardware", "b200-sxm", "--phase", "decode", "--context", "4096")


@dataclass(frozen=True)
class Line:
    """One measurement; `good` is None where there is no budget."""

    what: str
    value: str
    budget: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Ended:
    """A command that has run: wall time (s) and peak memory (bytes)."""

    wall_s: float
    peak_bytes: int


def command(*arguments: str, cache: str | None = None) -> Ended:
    """Run tierscope in a process of its own; fails when it does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = cache
        environment.pop("NUMBA_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "simulator", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"tierscope {' '.join(arguments)}: exit {process.returncode}\n{errors.read().decode()}")
    scale = 1 if sys.platform == "darwin" else KIB
    return Ended(wall, usage.ru_maxrss * scale)


def best(action: Callable[[], float], times: int) -> float:
    """Return the least of several measured times."""
    return min(action() for _ in range(times))


def reads(
    address: NDArray[np.int64],
    row_bytes: int,
    ctas: int,
    rows: int = 1,
    stride: int = 0,
    lanes: int = 1,
    through_l1: bool = False,
) -> TracedKernel:
    """Return a kernel that reads these addresses, dealt to its CTAs in equal runs, `lanes` of them at once."""
    count = len(address)
    values = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    values["requester"] = np.arange(count, dtype=np.int32) // -(-count // ctas)
    values["op"][:] = Op.READ
    values["address"] = address
    values["rows"][:] = rows
    values["row_bytes"][:] = row_bytes
    values["row_stride"][:] = stride
    values["joined"] = (np.arange(count) % lanes > 0).astype(np.uint8)
    values["through_l1"][:] = through_l1
    header = KernelHeader(
        name="benchmark",
        operator="benchmark",
        layer=-1,
        step=0,
        requesters=ctas,
        threads=128,
        shared_bytes=0,
        registers=0,
        stages=8,
        flops=0,
        records=count,
        read_bytes=count * rows * row_bytes,
        write_bytes=0,
    )
    return TracedKernel(header, (Records(**values),))


def replay(device: Device, kernel: TracedKernel, clock: int = 0) -> tuple[float, int, NDArray[np.int64]]:
    """Return the processor time (s), the simulated end (ps) and the counters of one kernel on a device."""
    begin = time.process_time()
    slot = device.launch(kernel)
    end, _ = device.advance(clock)
    spent = time.process_time() - begin
    return spent, end, device.retire(slot)


def device() -> Device:
    """Return a fresh H100 with the replacement policy and the single partition that the twins have."""
    return Device(load("h100-sxm", ["l2.replacement=lru", "l2.partitions=1"]).spec)


def starts(quick: bool) -> Iterator[Line]:
    """Measure whole commands."""
    walls = [command("--help").wall_s for _ in range(5)]
    shown = f"{min(walls):.3f} s (median {statistics.median(walls):.3f})"
    yield Line("tierscope --help, best of 5", shown, "< 0.3 s", min(walls) < 0.3)
    repeats = 2 if quick else 5
    plain = best(lambda: command("run", *DECODE_8B).wall_s, repeats)
    yield Line("8B decode step, warm, whole command", f"{plain:.2f} s", "< 2 s", plain < 2)
    exact = best(lambda: command("run", *DECODE_8B, "--exact").wall_s, repeats)
    yield Line("  the same with --exact", f"{exact:.2f} s", "< 2 s", exact < 2)
    with tempfile.TemporaryDirectory() as cache:
        first = command("run", *DECODE_8B, cache=cache).wall_s
    yield Line("  the same on an empty cache, compilation included", f"{first:.1f} s", "< 60 s", first < 60)
    peak = command("run", *DECODE_70B).peak_bytes
    yield Line("70B decode step, peak memory", f"{peak / MIB:.0f} MiB", "< 1 GB", peak < 10**9)
    peak = command("run", *DECODE_70B, "--exact").peak_bytes
    yield Line("  the same with --exact", f"{peak / MIB:.0f} MiB", "< 1 GB", peak < 10**9)


def real_trace(quick: bool) -> Iterator[Line]:
    """Measure the replay of the 8B decode step, with its records generated on the way and with records at hand."""
    keys = dict(zip((key.removeprefix("--") for key in DECODE_8B[::2]), DECODE_8B[1::2], strict=True))
    prepared = prepare(build_request(None, keys | {"context": int(keys["context"]), "exact": True}))
    hardware, protocol = prepared.hardware.spec, prepared.protocol
    held = [TracedKernel(kernel.header, tuple(kernel.chunks)) for kernel in prepared.trace.kernels(None)]
    at_hand = Trace(prepared.trace.header, prepared.trace.steps, lambda only: iter(held))

    def timed(trace: Trace) -> tuple[float, int]:
        begin = time.process_time()
        outcome = simulate(trace, hardware, protocol, exact=True)
        return time.process_time() - begin, int(outcome.step_counters[:, counter.LINES].sum())

    repeats = 2 if quick else 5
    lowered, lines = min(timed(prepared.trace) for _ in range(repeats))
    yield Line("8B decode step, trace generation and exact replay", f"{lowered:.3f} s", "< 0.5 s", lowered < 0.5)
    pure, _ = min(timed(at_hand) for _ in range(repeats))
    rate = lines / pure
    yield Line("  replay alone", f"{pure:.3f} s, {rate / 1e9:.2f} G lines/s", ">= 1 G lines/s", rate >= 1e9)


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
        yield Line(name, f"{rate / 1e9:.2f} G lines/s", ">= 1 G lines/s", rate >= 1e9)


def rate_of_accesses(kernel: TracedKernel, access_bytes: int, budget: float) -> tuple[str, bool]:
    """Return how many accesses of `access_bytes` a second a kernel's replay comes to, in words, and whether that meets
    the budget."""

    def timed() -> float:
        fresh = device()
        _, clock, _ = replay(fresh, kernel)  # warms L2 and brings its lines into the state they stay in
        return replay(fresh, kernel, clock)[0]

    seconds = best(timed, 3) * access_bytes / kernel.header.read_bytes
    return f"{1e-6 / seconds:.0f} M/s, {seconds * 1e9:.1f} ns, {seconds * clock_hz():.0f} cycles", 1 / seconds >= budget


def clock_hz() -> float:
    """Return the clock of this processor, the nominal one where the present one is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return float("nan")
    mhz = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if "cpu MHz" in line]
    return float(mhz[0]) * 1e6 if mhz else float("nan")


def line_streams(quick: bool) -> Iterator[Line]:
    """Measure streams that come line by line."""
    count = 264 * (1024 if quick else 8192)
    line = 128
    address = np.arange(count) * line
    cases = {
        "lines in order, 32 lanes at once": reads(address, line, ctas=264, lanes=32),
        "16-KiB reads that begin a line late": reads(address[::128] + line, 16 * KIB, ctas=264),
        "lines in order, one at a time": reads(address[: count // 4], line, ctas=264),
    }
    for name, kernel in cases.items():
        shown, good = rate_of_accesses(kernel, line, 150e6)
        yield Line(name, shown, ">= 150 M lines/s", good)


def sectors(quick: bool) -> Iterator[Line]:
    """Measure irregular accesses to single sectors."""
    count = 400_000 if quick else 4_000_000
    generator = np.random.default_rng(0)
    wide = generator.integers(0, 16 * GIB // SECTOR, count) * SECTOR
    narrow = generator.integers(0, 24 * MIB // SECTOR, count) * SECTOR
    gather = generator.integers(0, 16 * GIB // SECTOR, count // 32) * SECTOR
    cases = {
        "32 lanes at once, random of 16 GiB": reads(wide, SECTOR, ctas=2112, lanes=32),
        "  the same through L1": reads(wide, SECTOR, ctas=2112, lanes=32, through_l1=True),
        "32 lanes at once, random of 24 MiB, in L2": reads(narrow, SECTOR, ctas=2112, lanes=32),
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


def rate_of(lines: int, seconds: float) -> str:
    """Return a rate in lines per second."""
    return f"{lines / seconds / 1e6:,.1f} M lines/s"


def predictions(quick: bool) -> Iterator[Line]:
    """Measure predict on a file of all three kernels."""
    draw = random.Random(0)
    rows = ["kernel,m,n,k,weight_copies,batch,kv_len,seq_len,heads,kv_heads,head_dim,framework"]
    count = 30 if quick else 300
    for number in range(count):
        framework = draw.choice(["generic", "vllm", "sglang", "trtllm"])
        if number % 3 == 0:
            n, k = draw.choice([(4096, 4096), (14336, 4096), (4096, 14336), (6144, 4096)])
            rows.append(f"gemm,{draw.choice([1, 8, 64, 512, 4096])},{n},{k},{draw.randint(1, 6)},,,,,,,{framework}")
        elif number % 3 == 1:
            batch, length = draw.choice([1, 4, 16, 64]), draw.choice([512, 2048, 8192])
            rows.append(f"decode_attention,,,,,{batch},{length},,32,8,128,{framework}")
        else:
            batch, length = draw.choice([1, 2, 4]), draw.choice([512, 1024, 4096])
            rows.append(f"prefill_attention,,,,,{batch},,{length},32,8,128,{framework}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        path.write_text("\n".join(rows) + "\n")
        wall = command("predict", str(path), "--hardware", "h100-sxm").wall_s
    rate = count / wall * 60
    yield Line(
        f"predict, {count} mixed rows, whole command", f"{rate:,.0f} rows/min", ">= 2,000 rows/min", rate >= 2000
    )


def reuse(quick: bool) -> Iterator[Line]:
    """Measure locality at one granularity each, from records to result, in the order in which the CTAs of a device take
    turns.  Time is that of the processor, so that others on the machine count for less."""
    keys = dict(zip((key.removeprefix("--") for key in DECODE_8B[::2]), DECODE_8B[1::2], strict=True))
    prepared = prepare(build_request(None, keys | {"context": int(keys["context"]), "exact": True}))
    order = Order(prepared.hardware.spec)
    decode = [TracedKernel(kernel.header, tuple(kernel.chunks)) for kernel in prepared.trace.kernels(None)]
    count = 500_000 if quick else 4_000_000
    generator = np.random.default_rng(0)

    def anywhere(mib: int) -> list[TracedKernel]:
        sectors = generator.integers(0, mib * MIB // SECTOR, count)
        return [in_chunks(reads(sectors * SECTOR, SECTOR, ctas=2112))]

    wide = anywhere(64)
    cases = {
        "8B decode step, by line": (decode, 128, 1.0),
        "8B decode step, by sector": (decode, SECTOR, 1.0),
        "8B decode step, by sector, 1 page in 128": (decode, SECTOR, 1 / 128),
        "single sectors, random of 4 MiB": (anywhere(4), SECTOR, 1.0),
        "single sectors, random of 64 MiB": (wide, SECTOR, 1.0),
        "single sectors of 64 MiB, 1 page in 128": (wide, SECTOR, 1 / 128),
        "single sectors, random of 1 GiB": (anywhere(1024), SECTOR, 1.0),
    }
    for name, (kernels, unit, rate) in cases.items():

        def timed(kernels=kernels, unit=unit, rate=rate) -> tuple[float, int]:  # type: ignore[no-untyped-def]
            begin = time.process_time()
            found = locality(prepared.trace.header, kernels, order, {"unit": unit}, rate=rate)
            return time.process_time() - begin, found.reuse[0].accesses

        seconds, accesses = min(timed() for _ in range(3))
        budget = 15e6 if rate == 1 else 150e6
        shown = f"{accesses / seconds / 1e6:,.0f} M accesses/s"
        yield Line(name, shown, f">= {budget / 1e6:.0f} M/s", accesses / seconds >= budget)


def in_chunks(kernel: TracedKernel) -> TracedKernel:
    """Return a kernel in pieces of about the size in which traces are read from a file."""
    (whole,) = kernel.chunks
    ctas = -(-kernel.header.requesters * CHUNK_RECORDS // len(whole))
    edges = np.flatnonzero(np.diff(whole.requester)) + 1
    bounds = [0, *edges[ctas - 1 :: ctas].tolist(), len(whole)]
    return TracedKernel(kernel.header, tuple(whole[first:last] for first, last in itertools.pairwise(bounds)))


SECTIONS = {
    "commands": starts,
    "decode step": real_trace,
    "aligned tiles, one core": tiles,
    "lines, one core": line_streams,
    "sectors, one core": sectors,
    "DRAM alone, one core": dram_alone,
    "twins, one core": against_twins,
    "reuse distances, one core": reuse,
    "predict": predictions,
}


def machine() -> str:
    """Return processor, cores and versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    load_now = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {os.cpu_count()} cores{load_now}; Python {platform.python_version()}, numpy {np.__version__}"


def main() -> int:
    """Print the table; return 1 when a twin disagrees."""
    parser = argparse.ArgumentParser(description="Measure tierscope against its budgets.")
    parser.add_argument("--quick", action="store_true", help="shorter traces, fewer repeats: rates are a little low")
    parser.add_argument("--only", metavar="SECTION", choices=SECTIONS, help="one section: " + ", ".join(SECTIONS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the lines to this file")
    options = parser.parse_args()
    print(machine(), flush=True)
    command("run", *DECODE_8B)  # compiles, so that everything after it is warm
    lines: list[Line] = []
    for title, section in SECTIONS.items():
        if options.only not in (None, title):
            continue
        print(f"\n{title}", flush=True)
        for line in section(options.quick):
            verdict = {None: "", True: "ok", False: "MISSED"}[line.good]
            print(f"  {line.what:<54} {line.value:>32}  {line.budget:<17} {verdict}".rstrip(), flush=True)
            lines.append(line)
    if options.json:
        options.json.write_text(json.dumps([vars(line) for line in lines], indent=1) + "\n")
    return int(any(line.good is False and line.budget.startswith("=") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
