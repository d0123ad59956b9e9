"""Small runs that together pass through all of the core, for comparing the compiled core with the same code as Python.

As a script it prints what the runs of a family came to, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import access_patterns as patterns
import datasheet
import dram_bench
import numpy as np
from datasheet import Access

from simulator.core import replay
from simulator.memory import device, dram_pattern
from simulator.trace.record import Hint, Op, TracedKernel

Run = dict[str, int]


def mixed_cache(replacement: str, count: int) -> Run:
    """Whole groups and ragged parts, split and joined."""
    accesses = patterns.mixed(11, count, 32, 2, whole=0.85, reach=3.0, phases=4)
    return _run(datasheet.cache_of(32, 2, l2__replacement=replacement), datasheet.kernel(accesses))


def streaming() -> Run:
    """CTAs on several SMs with more tiles than may be in flight, computing, in chunks."""
    ctas = [
        [Access((1 << 32) + (cta * 6 + i) * 16384, 16384, cycles=40 * (i % 3)) for i in range(6)] for cta in range(20)
    ]
    changes = {"sm.count": 4, "sm.ctas": 2, "l2.size": "1 MiB", "sm.outstanding": "16 KiB"}
    return _run(changes, datasheet.kernel(*ctas, stages=3, chunk=7))


def barriers() -> Run:
    """Gathers, strided runs, barriers, and stores that fill the write queues."""
    ctas = [
        [
            Access((1 << 32) + cta * 96, 96),
            Access((1 << 33) + cta * 8192, 256, rows=8, stride=1024, barrier=True, cycles=7),
            Access((1 << 34) + cta * 4096, 4096, Op.WRITE, barrier=True),
            Access((1 << 35) + cta * 32, 32, Op.REDUCE),
            Access((1 << 34) + (cta + 1) * 4096, 4096, Op.PREFETCH),
        ]
        for cta in range(24)
    ]
    changes = {"sm.count": 3, "sm.ctas": 3, "l2.ways": 4, "l2.size": "64 KiB", "hbm.channels": 4}
    return _run(changes, datasheet.kernel(*ctas, stages=2), datasheet.kernel(*reversed(ctas), stages=16))


def together() -> Run:
    """Two kernels in flight at once."""
    on = datasheet.device({"sm.count": 2, "sm.ctas": 2, "l2.size": "256 KiB"})
    for name in ("a", "b"):
        reads = [[Access((1 << 32) + (cta * 9 + i) * 4096, 4096) for i in range(9)] for cta in range(6)]
        on.launch(datasheet.kernel(*reads, name=name))
    out: Run = {}
    now = 0
    while on.busy:
        now, slot = on.advance(now)
        assert slot is not None
        out |= {f"{slot}.{i}": int(value) for i, value in enumerate(on.retire(slot).tolist())} | {f"{slot}": now}
    return out


def through_l1() -> Run:
    """Lanes of warps that gather through L1, across partitions, more than may be in flight or missing at once."""
    ctas = [
        [
            Access(
                (1 << 32) + (cta * 977 + i * 131) % 512 * 32, through_l1=True, joined=i % 8 != 0, barrier=i % 16 == 0
            )
            for i in range(96)
        ]
        for cta in range(12)
    ]
    stream = [[Access((1 << 33) + (cta * 64 + i) * 128, 8192) for i in range(0, 64, 2)] for cta in range(12)]
    changes = {
        "l2.partitions": 2,
        "l2.slices": 2,
        "l2.mshrs": 16,
        "l2.size": "64 KiB",
        "l2.ways": 4,
        "l1.size": "4 KiB",
    }
    changes |= {"l1.ways": 4, "sm.count": 3, "sm.ctas": 4, "sm.outstanding": "512 B", "l2.fetch": "64 B"}
    return _run(changes, datasheet.kernel(*ctas, stages=4), datasheet.kernel(*stream, stages=4))


def hinted(replacement: str) -> Run:
    """Every hint under a policy, and room set aside where it can be."""
    draw = np.random.default_rng(3)
    accesses = [
        access._replace(hint=Hint(int(draw.integers(4)))) for access in patterns.mixed(5, 120, 32, 4, reach=2.0)
    ]
    aside = {"l2.set_aside": "8 KiB"} if replacement == "lru" else {}
    return _run(datasheet.cache_of(32, 4, l2__replacement=replacement) | aside, datasheet.kernel(accesses))


def dram_alone(standard: str, **changes: object) -> Run:
    """Sectors, lines and whole groups, read and written, through refreshes; then the closed loop."""
    memory = dram_bench.memory(
        standard, size="2 GiB", channels=4, data_rate="4 Gbit/s", interleave="256 B", latency="20 ns", **changes
    )
    rng = np.random.default_rng(2)
    size = rng.choice([32, 64, 128, 4096], 1500)
    address = rng.integers(0, 300, 1500) * 4096
    bench = dram_pattern.DramBench(memory)
    done = bench.serve(address, size, np.cumsum(rng.integers(0, 9000, 1500)), rng.random(1500) < 0.4)
    out = {"done": int(done.sum())} | dict(
        zip(("ROW_HITS", "ROW_MISSES", "ROW_CONFLICTS"), bench.row_counts, strict=True)
    )
    loop = dram_pattern.dram_pattern(memory, *dram_bench.pattern("random_rw50", 64, 700)[:1], 64)
    return out | {"time": loop.time_ps, "latency": round(1000 * loop.mean_read_latency_ps), "hits": loop.row_hits}


def everything() -> Iterator[tuple[str, Callable[[], Run]]]:
    """Yield every scenario by name, whose first word is its family."""
    yield "mixed lru", lambda: mixed_cache("lru", 500)
    yield "mixed random", lambda: mixed_cache("random", 150)
    yield "streaming", streaming
    yield "barriers", barriers
    yield "together", together
    yield "DRAM, all-bank refresh", lambda: dram_alone("hbm2", refresh="all-bank", t_rfc="350 ns")
    yield "DRAM, per-bank refresh", lambda: dram_alone("gddr6", bank_hash=[0, 5])
    yield "DRAM, closed pages", lambda: dram_alone("hbm4", page_policy="closed", refresh="spread")
    yield "through L1", through_l1
    for replacement in ("lru", "plru", "random", "srrip", "brrip"):
        yield f"hinted {replacement}", lambda replacement=replacement: hinted(replacement)


def of_family(family: str) -> dict[str, Run]:
    """Return what the scenarios of a family come to, by name."""
    return {name: scenario() for name, scenario in everything() if name.split()[0] == family}


def _run(changes: dict[str, object], *kernels: TracedKernel) -> Run:
    ran = datasheet.run_all(datasheet.device(changes), kernels)
    return ran.counters | {"end_ps": ran.end_ps}


def as_tuples(p: Any) -> list[Any]:
    """Return parameters as the core takes them, of numpy's numbers too, but not in an array of one record, whose fields
    take plain Python two thirds of a run to find."""

    def numbers(values: Any) -> Any:
        kinds = {int: np.int64, bool: np.int64, float: np.float64}
        return type(values)(*(kinds.get(type(value), numbers)(value) for value in values))

    return [numbers(p)]


if __name__ == "__main__":
    assert not hasattr(replay.advance, "py_func"), "set NUMBA_DISABLE_JIT=1"
    device.as_record = dram_pattern.as_record = as_tuples
    print(json.dumps(of_family(sys.argv[1])))
