"""Are layers left out only once two of their kind agree, and steps chosen so that the rest can be interpolated?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from bare_kernel import BARE

from simulator.core import counter
from simulator.run.sampling import REPLAYED_STEPS, TOLERANCE, LayerSampler, sampled_steps
from simulator.system import KernelRun
from simulator.trace.record import TracedKernel

# Layers, driven as a stream does: a kernel is asked for, runs, and is observed before the next layer begins.


def layer(number: int, *names: str, step: int = 0) -> list[TracedKernel]:
    return [TracedKernel(replace(BARE, operator="gemm", layer=number, name=name, step=step), ()) for name in names]


def drive(kernels: list[TracedKernel], times: dict[int, int], misses: dict[int, int] | None = None) -> LayerSampler:
    """Run the kernels that the sampler lets through; `times` and `misses` by layer (1000 when absent)."""
    sampler = LayerSampler()
    sampler.ran = []  # type: ignore[attr-defined]
    clock = 0
    for kernel in sampler.filter(iter(kernels)):
        header = kernel.header
        counters = np.zeros(counter.COUNT, np.int64)
        counters[counter.READ_SECTOR_MISSES] = (misses or {}).get(header.layer, 1000)
        counters[counter.READ_SECTOR_HITS] = 100_000 - counters[counter.READ_SECTOR_MISSES]
        counters[counter.DRAM_READ_BYTES] = 32 * counters[counter.READ_SECTOR_MISSES]
        counters[counter.SM_READ_BYTES] = 3_200_000
        end = clock + times.get(header.layer, 1000)
        sampler.ran.append((header.step, header.layer, header.name))  # type: ignore[attr-defined]
        sampler.observe(KernelRun(header, clock, clock, end, counters))
        clock = end
    return sampler


def ran(sampler: LayerSampler) -> list[tuple[int, int, str]]:
    return sampler.ran  # type: ignore[attr-defined,no-any-return]


def layers_run(sampler: LayerSampler) -> list[int]:
    return sorted({number for _, number, _ in ran(sampler)})


def stack(count: int, *names: str) -> list[TracedKernel]:
    return [kernel for number in range(count) for kernel in layer(number, *names)]


def test_two_layers_that_agree_stand_for_the_rest() -> None:
    sampler = drive(stack(6, "a", "b"), {})
    assert layers_run(sampler) == [0, 1]
    skipped = [(header.layer, header.name, twin.header.layer, twin.header.name) for header, twin in sampler.skipped]
    assert skipped == [(number, name, 1, name) for number in range(2, 6) for name in "ab"]


def test_layers_are_run_until_they_agree() -> None:
    """1000, 900, 850, 848: the last two differ by 0.24 %."""
    assert layers_run(drive(stack(6, "a"), {0: 1000, 1: 900, 2: 850, 3: 848})) == [0, 1, 2, 3]


@pytest.mark.parametrize(("second", "more"), [(1004, False), (1006, True), (996, False), (994, True)])
def test_the_tolerance_is_half_a_percent_of_the_time(second: int, more: bool) -> None:
    assert TOLERANCE == 0.005
    assert (len(layers_run(drive(stack(5, "a"), {1: second}))) > 2) == more


def test_traffic_counts_beside_the_time() -> None:
    """The same time and 20 % more bytes from DRAM is not the same layer."""
    assert layers_run(drive(stack(5, "a"), {}, {0: 50_000, 1: 60_000, 2: 60_000})) == [0, 1, 2]


def test_a_few_misses_more_among_many_hits_are_noise() -> None:
    """Hits and misses are parts of one whole: 10 misses of 100000 may double, their DRAM bytes may not."""
    assert layers_run(drive(stack(5, "a"), {}, {0: 10, 1: 10, 2: 20})) == [0, 1]
    assert layers_run(drive(stack(5, "a"), {}, {0: 10, 1: 20, 2: 20})) == [0, 1, 2]


def test_each_kind_of_layer_converges_on_its_own() -> None:
    """Full and windowed attention in turn: two of each."""
    kernels = [kernel for number in range(8) for kernel in layer(number, "window" if number % 2 else "full")]
    sampler = drive(kernels, {number: 1000 + 500 * (number % 2) for number in range(8)})
    assert layers_run(sampler) == [0, 1, 2, 3]
    assert all(header.name == twin.header.name for header, twin in sampler.skipped)


def test_work_of_other_size_is_another_kind() -> None:
    """The same name with other bytes: three of one size, then three of another."""
    kernels = stack(6, "a")
    kernels = [
        TracedKernel(replace(kernel.header, read_bytes=1 if kernel.header.layer > 2 else 0), ()) for kernel in kernels
    ]
    assert layers_run(drive(kernels, {})) == [0, 1, 3, 4]


def test_kernels_outside_of_layers_always_run() -> None:
    kernels = [*layer(-1, "embedding"), *stack(4, "a"), *layer(-1, "head")]
    sampler = drive(kernels, {})
    assert ran(sampler) == [(0, -1, "embedding"), (0, 0, "a"), (0, 1, "a"), (0, -1, "head")]
    assert len(sampler.skipped) == 2


def test_a_later_step_profits_from_an_earlier_one() -> None:
    kernels = [kernel for step in range(3) for number in range(3) for kernel in layer(number, "a", step=step)]
    sampler = drive(kernels, {})
    assert ran(sampler) == [(0, 0, "a"), (0, 1, "a")]
    assert [(header.step, header.layer) for header, _ in sampler.skipped] == [
        (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)
    ]  # fmt: skip


def test_layers_are_decided_when_they_are_asked_for() -> None:
    """The stream may be a generator that lowers each layer only then."""
    asked = []

    def lowered() -> Iterator[TracedKernel]:
        for kernel in stack(3, "a", "b"):
            asked.append(kernel.header.layer)
            yield kernel

    first = next(LayerSampler().filter(lowered()))
    assert first.header.layer == 0
    assert 2 not in asked


# Steps


@pytest.mark.parametrize("steps", [1, 2, REPLAYED_STEPS, REPLAYED_STEPS + 1])
def test_short_generations_are_replayed_whole(steps: int) -> None:
    assert sampled_steps(steps) == frozenset(range(steps))


@pytest.mark.parametrize("steps", [REPLAYED_STEPS + 2, 50, 1000, 100_001])
def test_long_generations_are_sampled_evenly(steps: int) -> None:
    chosen = sorted(sampled_steps(steps))
    assert len(chosen) == REPLAYED_STEPS + 1
    assert chosen[:2] == [0, 1]  # the prefill, and the first decode step
    assert chosen[-1] == steps - 1
    gaps = np.diff(chosen[1:])
    assert gaps.max() - gaps.min() <= 1


def test_steps_by_hand() -> None:
    assert sorted(sampled_steps(61)) == [0, 1, 11, 21, 30, 40, 50, 60]
