"""Does a replay depend on nothing but the records: not on how they are cut into chunks, nor on what ran before?"""

from __future__ import annotations

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.memory import Device
from simulator.models import Architecture
from simulator.run.generate import generate
from simulator.run.simulate import simulate
from simulator.system import run_stream
from simulator.trace.record import KernelHeader, Op, Records, TracedKernel
from simulator.workload import Phase, Workload
from simulator.workload.protocol import Protocol


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Architecture]:
    return small.load_models(tmp_path_factory.mktemp("models"))


def random_kernel(seed: int, ctas: int, stages: int) -> TracedKernel:
    """Return a kernel of CTAs with one to twelve records each, of all kinds."""
    rng = np.random.default_rng(seed)
    requester = np.repeat(np.arange(ctas), rng.integers(1, 13, ctas))
    n = len(requester)
    columns = {
        "kernel": np.zeros(n),
        "requester": requester,
        "op": rng.choice([Op.READ, Op.READ, Op.READ, Op.WRITE, Op.REDUCE, Op.PREFETCH], n),
        "address": (1 << 32) + rng.integers(0, 1 << 15, n) * 32,
        "rows": rng.integers(1, 4, n),
        "row_bytes": rng.choice([32, 128, 4096], n),
        "row_stride": rng.choice([4096, 8192], n),
        "compute_cycles": rng.integers(0, 500, n),
        "barrier": rng.integers(0, 2, n),
        "hint": rng.integers(0, 4, n),
        "through_l1": rng.integers(0, 2, n),
        "joined": rng.integers(0, 2, n),
    }
    records = Records.of(n, **columns)
    header = KernelHeader(
        name="random",
        operator="",
        layer=-1,
        step=0,
        requesters=ctas,
        threads=256,
        shared_bytes=0,
        registers=32,
        stages=stages,
        flops=0,
        records=n,
        read_bytes=0,
        write_bytes=0,
    )
    return TracedKernel(header, (records,))


def replay(device: Hardware, *kernels: TracedKernel) -> list[tuple[int, list[int]]]:
    return [(run.end_ps, run.counters.tolist()) for run in run_stream(Device(device), kernels)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ctas=st.integers(1, 150),
    stages=st.integers(1, 16),
    chunks=st.integers(1, 40),
    device=small.DEVICES,
)
def test_chunks_of_random_kernels_do_not_matter(
    seed: int, ctas: int, stages: int, chunks: int, device: Hardware
) -> None:
    kernel = random_kernel(seed, ctas, stages)
    again = random_kernel(seed + 1, ctas, stages)
    assert replay(device, small.rechunked(kernel, chunks), small.rechunked(again, chunks)) == replay(
        device, kernel, again
    )


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_chunks_of_a_model_do_not_matter(architectures: dict[str, Architecture], phase: Phase, chunk: int) -> None:
    length = {"prompt": 70} if phase is Phase.PREFILL else {"context": 150}
    device = small.device(*small.SMALL_DEVICE)
    trace = generate(architectures["llama"], Workload(phase=phase, batch=3, **length), Protocol(), device)
    kernels = list(trace.kernels(None))
    assert replay(device, *(small.rechunked(k, chunk) for k in kernels)) == replay(device, *kernels)


@settings(max_examples=10, deadline=None)
@given(workload=small.workloads(), protocol=small.PROTOCOLS, device=small.DEVICES, seed=st.integers(0, 5))
def test_a_run_is_deterministic(
    architectures: dict[str, Architecture], workload: Workload, protocol: Protocol, device: Hardware, seed: int
) -> None:
    trace = generate(architectures["llama"], workload, protocol, device, seed)
    first, second = (simulate(trace, device, protocol, True, seed) for _ in range(2))
    assert first.step_ps.tolist() == second.step_ps.tolist()
    assert first.step_counters.tolist() == second.step_counters.tolist()


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 10**12), device=small.DEVICES)
def test_the_time_of_day_does_not_matter(start: int, device: Hardware) -> None:
    kernel = random_kernel(9, 40, 4)
    early, late = run_stream(Device(device), [kernel])[0], run_stream(Device(device), [kernel], start_ps=start)[0]
    assert late.end_ps - start == early.end_ps
    earlier = np.zeros_like(late.counters)  # queues count since the beginning of time that they hold nothing
    earlier[counter.SM_QUEUE + counter.HISTOGRAM] = start * device.sm.count
    earlier[counter.MISS_QUEUE + counter.HISTOGRAM] = start
    assert (late.counters - earlier).tolist() == early.counters.tolist()
