"""The workload: which phase runs, on how many sequences of which length, stored in which element types."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from simulator.config import Spec
from simulator.hardware.spec import Dtype
from simulator.workload.placement import Placement

Count = Annotated[int, Field(gt=0, strict=True)]


class Phase(StrEnum):
    """What is run."""

    PREFILL = "prefill"  # the prompt, in one pass
    DECODE = "decode"  # one pass of one new token per sequence
    GENERATE = "generate"  # prefill, then one decode pass per further token


class Pass(NamedTuple):
    """One pass over the model."""

    query_len: int  # new tokens per sequence
    kv_len: int  # tokens attended over, the new ones included


class Workload(Spec):
    """What is asked of the model.

    `context` is the KV length a decode pass attends over *including* the token it appends: with `context` 4096,
    4095 tokens are already cached, one is written, and attention reads 4096.  `tokens` counts the tokens generated,
    the first of which comes from the prefill.  With `weight_dtype` fp8 the linear layers of the decoder are in fp8
    (scales not counted) and everything else has `plain_weight_dtype`, as in published fp8 checkpoints.
    """

    phase: Phase
    batch: Count = 1
    context: Count | None = None  # decode only
    prompt: Count | None = None  # prefill and generate
    tokens: Count | None = None  # generate only
    weight_dtype: Dtype = Dtype.BF16
    activation_dtype: Dtype = Dtype.BF16  # of the inputs of the linear layers
    kv_dtype: Dtype = Dtype.BF16
    page_tokens: Count | None = None  # tokens per page of the KV cache; None: contiguous
    placement: Placement | None = None  # None: everything rests in device memory

    @model_validator(mode="after")
    def _lengths(self) -> Workload:
        needed = _LENGTHS[self.phase]
        for key in ("context", "prompt", "tokens"):
            given = getattr(self, key) is not None
            if given and key not in needed:
                raise ValueError(f"{key} does not apply to phase {self.phase}; it takes {' and '.join(needed)}")
            if not given and key in needed:
                raise ValueError(f"phase {self.phase} needs {key}")
        return self

    @property
    def stream_dtype(self) -> Dtype:
        """Type of the residual stream and of what linear layers write: `activation_dtype`, but never below 16 bits."""
        return Dtype.BF16 if self.activation_dtype is Dtype.FP8 else self.activation_dtype

    @property
    def plain_weight_dtype(self) -> Dtype:
        """Type of embeddings, output head, norms and biases: `weight_dtype`, but never below 16 bits."""
        return self.stream_dtype if self.weight_dtype is Dtype.FP8 else self.weight_dtype

    @property
    def kv_len(self) -> int:
        """Tokens per sequence in the KV cache when the last pass runs."""
        if self.phase is Phase.DECODE:
            return self.context or 0
        return (self.prompt or 0) + (self.tokens or 1) - 1

    @property
    def query_len(self) -> int:
        """New tokens per sequence of the widest pass."""
        return 1 if self.phase is Phase.DECODE else self.prompt or 0

    def passes(self) -> Iterator[Pass]:
        """Yield the passes in the order they run."""
        if self.phase is Phase.DECODE:
            yield Pass(1, self.kv_len)
            return
        yield Pass(self.query_len, self.query_len)
        for kv_len in range(self.query_len + 1, self.kv_len + 1):
            yield Pass(1, kv_len)


_LENGTHS = {Phase.PREFILL: ("prompt",), Phase.DECODE: ("context",), Phase.GENERATE: ("prompt", "tokens")}
