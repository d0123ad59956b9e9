"""Sections that measure whole commands and whole steps."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from kernels import DECODE_8B, DECODE_70B, MIB, SECTOR, in_chunks, reads
from measured import Line, best, command

from simulator.analysis.locality import locality
from simulator.analysis.order import Order
from simulator.cli.run import build_request
from simulator.core import counter
from simulator.run.execute import prepare
from simulator.run.generate import Trace
from simulator.run.simulate import simulate
from simulator.trace.record import TracedKernel


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


def mixed_rows(count: int) -> list[str]:
    """Return `count` different rows of all three kernels, under a header."""
    draw = random.Random(0)
    rows = ["kernel,m,n,k,weight_copies,batch,kv_len,seq_len,heads,kv_heads,head_dim,framework"]
    while len(rows) <= count:
        framework = draw.choice(["generic", "vllm", "sglang", "trtllm"])
        heads = draw.choice(["32,8,128", "64,8,128", "40,8,128", "28,4,128"])
        if len(rows) % 3 == 0:
            n, k = draw.choice([(4096, 4096), (14336, 4096), (4096, 14336), (6144, 4096)])
            row = f"gemm,{draw.choice([1, 8, 64, 512, 4096])},{n},{k},{draw.randint(1, 6)},,,,,,,{framework}"
        elif len(rows) % 3 == 1:
            batch, length = draw.choice([1, 4, 16, 64]), draw.choice([512, 2048, 8192])
            row = f"decode_attention,,,,,{batch},{length},,{heads},{framework}"
        else:
            batch, length = draw.choice([1, 2, 4]), draw.choice([512, 1024, 4096])
            row = f"prefill_attention,,,,,{batch},,{length},{heads},{framework}"
        if row not in rows:
            rows.append(row)
    return rows


def predictions(quick: bool) -> Iterator[Line]:
    """Measure whole commands: predict on a file of all three kernels, and validate on the measured rows that ship."""
    count = 30 if quick else 300
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        path.write_text("\n".join(mixed_rows(count)) + "\n")
        wall = command("predict", str(path), "--hardware", "h100-sxm").wall_s
    yield rows_a_minute(f"predict, {count} different rows", count, wall)
    count = 8 if quick else 120
    suites = ("gemm", "decode-attention", "prefill-attention")
    wall = command("validate", *suites, "--transcribed", "--sample", str(count), may_miss=True).wall_s
    yield rows_a_minute(f"validate, {3 * count} measured rows of eight GPUs", 3 * count, wall)


def rows_a_minute(what: str, count: int, wall_s: float) -> Line:
    """Return how many rows a minute a command came to."""
    rate = count / wall_s * 60
    return Line(what, f"{rate:,.0f} rows/min", ">= 2,000 rows/min", rate >= 2000)


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
