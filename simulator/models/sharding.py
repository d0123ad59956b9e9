"""One GPU's share of a model under tensor parallelism."""

from __future__ import annotations

from simulator.errors import ConfigError
from simulator.models.architecture import Architecture


def shard(architecture: Architecture, degree: int) -> Architecture:
    """Return the model one of `degree` GPUs holds: its query heads, columns of the MLP and rows of the vocabulary.

    Column-parallel, then row-parallel linear layers (Shoeybi et al., Megatron-LM, 2019): outputs of the attention and
    of the MLP are partial sums that an all-reduce adds up.  KV heads fewer than GPUs are held more than once.  Raises
    ConfigError where heads or MLP do not divide.
    """
    for name, size in (("heads", architecture.heads), ("intermediate", architecture.intermediate)):
        if size % degree:
            raise ConfigError(f"{architecture.name}: {name} ({size}) cannot be dealt to {degree} GPUs in equal shares")
    return architecture.model_copy(
        update={
            "heads": architecture.heads // degree,
            "kv_heads": max(1, architecture.kv_heads // degree),
            "intermediate": architecture.intermediate // degree,
            "vocab": -(-architecture.vocab // degree),
        }
    )
