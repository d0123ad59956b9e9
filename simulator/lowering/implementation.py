"""What distinguishes one framework's kernels of a family from another's beyond tiles and grids.

The scalars stand in configs/implementations.toml, six a family of a framework at most, the same on every device.  They
are the only numbers of the model from calibration rows: fitted by the command named in that file, or read off them.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated

from pydantic import Field

from simulator import config
from simulator.config import Picoseconds, Spec

PROLOGUE_CLOCK_HZ = 2_000_000_000
"""The SM clock at which `prologue_ps` is stated: set-up is instructions, whose time goes with the clock."""


class Framework(StrEnum):
    """Whose kernels run."""

    GENERIC = "generic"
    VLLM = "vllm"
    SGLANG = "sglang"
    TRTLLM = "trtllm"


class Backend(StrEnum):
    """Whose attention kernels a server of SGLang was told to run (--attention-backend)."""

    AUTO = "auto"  # what it picks for the device and model
    FLASHINFER = "flashinfer"
    TRITON = "triton"


class Implementation(Spec):
    """A kernel family of a framework."""

    prologue_ps: Annotated[Picoseconds, Field(ge=0)] = 0  # per CTA: set-up before the first load, after the last store
    prologue_cycles: Annotated[int, Field(ge=0)] = 0  # the same in cycles of the SM
    warmup_cycles: Annotated[int, Field(ge=0)] = 0  # on top of it, of the CTAs that are the first at their place
    item_cycles: Annotated[int, Field(ge=0)] = 0  # of a persistent CTA: each piece of work, besides loads and products;
    # of prompts in fp8 where two warp groups multiply (FlashAttention-3)
    query_cycles: Annotated[float, Field(ge=0)] = 0.0  # of an SM to turn and cast an element of a query (XQA, Hopper)
    other_registers: Annotated[int, Field(ge=0)] = 0  # of a thread of XQA for Hopper, besides those of its product
    longer_cycles: Annotated[int, Field(ge=0)] = 0  # a CTA's, besides the prologue (masked attention, FlashAttention-4)
    replay_ps: Annotated[Picoseconds, Field(ge=0)]  # from the end of a graph to the start of its next replay
    matrix_efficiency: Annotated[float, Field(gt=0, le=1)]  # part of the peak matrix rate that the main loop keeps up
    softmax_exposed: Annotated[float, Field(ge=0, le=1)] = 1.0  # part of a prompt's softmax that no product hides
    run_gap_ps: Annotated[Picoseconds, Field(ge=0)] = 0  # DRAM's data bus stands still after a run of a tile's row
    cast_cycles: Annotated[int, Field(ge=0)] = 0  # of an fp8 input's cast, besides loads and stores (quantise.py)
    spilled_passes: Annotated[float, Field(ge=1)] = 1.0  # times spilled operands cross shared memory
    mask_cycles: Annotated[float, Field(ge=0)] = 0.0  # of a score that Triton's kernel may find outside the window
    transposed_per_clock: Annotated[float, Field(gt=0)] = 64.0  # bytes of an fp8 V that an SM turns a clock, at most
    fp8_efficiency: Annotated[float | None, Field(gt=0, le=1)] = None  # the same of products in fp8, if it differs

    def prologue_at(self, clock_hz: int) -> int:
        """Return the picoseconds that a CTA takes besides loads and products at an SM clock."""
        return self.prologue_ps * PROLOGUE_CLOCK_HZ // clock_hz


class Implementations(Spec):
    """The families of one framework."""

    gemm: Implementation
    decode_attention: Implementation
    prefill_attention: Implementation


class _Frameworks(Spec):
    generic: Implementations
    vllm: Implementations
    sglang: Implementations
    trtllm: Implementations


@cache
def implementations(framework: Framework = Framework.GENERIC) -> Implementations:
    """Return the fitted scalars of a framework; raises ConfigError when the file is damaged."""
    path = config.data_dir("configs") / "implementations.toml"
    frameworks = config.build(_Frameworks, config.read_toml(path), str(path))
    found: Implementations = getattr(frameworks, framework.value)
    return found
