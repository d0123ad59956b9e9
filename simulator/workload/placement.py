"""Where the tensors of a workload rest: rules by class and layer range, and what they come to for a model."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from simulator.config import Spec, nearest
from simulator.errors import ConfigError

MOST_PREFETCHED = 64


class Tier(StrEnum):
    """A memory that tensors can rest in."""

    HBM = "hbm"  # device memory, whatever its kind
    DRAM = "dram"  # of the host
    SSD = "ssd"  # behind the host


class Rule(NamedTuple):
    """A tier for the layers `first` to `last` (not included); None: from the first, to the last layer."""

    tier: Tier
    first: int | None = None
    last: int | None = None

    @property
    def all_layers(self) -> bool:
        """Whether the rule names no layers."""
        return self.first is None and self.last is None

    def __str__(self) -> str:
        ends = ("" if end is None else str(end) for end in (self.first, self.last))
        return str(self.tier) if self.all_layers else f"{self.tier}:layers[{':'.join(ends)}]"


_RULE = re.compile(r"\s*(\w+)\s*(?::\s*layers\s*\[\s*(\d{0,6})\s*:\s*(\d{0,6})\s*\])?\s*\Z")


def parse_rule(text: str) -> Rule:
    """Return the rule written as ``dram`` or ``dram:layers[16:32]``; raises ValueError saying how to write it."""
    match = _RULE.match(text)
    if match is None:
        raise ValueError(f"cannot read {text!r}: write a tier, or a tier and layers, such as dram:layers[16:32]")
    tier, *ends = match.groups()
    if tier not in list(Tier):
        raise ValueError(f"unknown tier {tier!r}; {nearest(tier, (known.value for known in Tier))}")
    first, last = (int(end) if end else None for end in ends)
    if first is not None and last is not None and first >= last:
        raise ValueError(f"{text!r} names no layer: the first must be below the last, which is not included")
    return Rule(Tier(tier), first, last)


def _rules(value: object) -> object:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise ValueError(f"write a rule such as 'dram:layers[16:32]', or a list of them, not {value!r}")
    return tuple(str(parse_rule(text)) for text in values)


Rules = Annotated[tuple[str, ...], BeforeValidator(_rules)]


class Placement(Spec):
    """Rules by tensor class; what no rule names rests in device memory.

    `weights` and `kv` are those of the layers, `embeddings` all weights outside them (tables and output head),
    `activations` the residual stream between layers: the inputs of the layers named.  What rests elsewhere is copied
    into a staging area of device memory of ``prefetch_layers + 1`` layers, up to `prefetch_layers` ahead of use.
    """

    weights: Rules = ()
    kv: Rules = ()
    embeddings: Rules = ()
    activations: Rules = ()
    prefetch_layers: Annotated[int, Field(ge=0, le=MOST_PREFETCHED, strict=True)] = 1
    host_memory: Literal["pinned", "pageable"] = "pinned"


CLASSES = ("weights", "kv", "embeddings", "activations")


class Residency(NamedTuple):
    """The tier of every class in every layer of one model."""

    layers: dict[str, tuple[Tier, ...]]  # class -> tier by layer
    embeddings: Tier

    def tier(self, name: str, layer: int) -> Tier:
        """Return where a class of a layer rests."""
        return self.layers[name][layer]

    @property
    def tiers(self) -> frozenset[Tier]:
        """Every tier that holds something."""
        return frozenset((self.embeddings, *(tier for tiers in self.layers.values() for tier in tiers)))


def resolve(placement: Placement | None, layers: int, model: str) -> Residency:
    """Return what the rules come to for a model of so many layers.

    Raises ConfigError with the key path when a rule names layers that the model does not have, or two rules place the
    same tensors.
    """
    given = placement or Placement()
    tiers = {
        name: _by_layer(f"workload.placement.{name}", getattr(given, name), layers, model)
        for name in CLASSES
        if name != "embeddings"
    }
    where = "workload.placement.embeddings"
    rules = [parse_rule(text) for text in given.embeddings]
    for rule in rules:
        if not rule.all_layers:
            raise ConfigError(f"{where}: embeddings lie outside the layers; write {rule.tier} without layers")
    if len(rules) > 1:
        raise ConfigError(f"{where}: placed twice, in {rules[0].tier} and in {rules[1].tier}; keep one rule")
    return Residency(tiers, rules[0].tier if rules else Tier.HBM)


def _by_layer(where: str, rules: tuple[str, ...], layers: int, model: str) -> tuple[Tier, ...]:
    placed: list[Tier | None] = [None] * layers
    for text in rules:
        rule = parse_rule(text)
        first = 0 if rule.first is None else rule.first
        last = layers if rule.last is None else rule.last
        if last > layers or first >= layers:
            raise ConfigError(f"{where}: {text}: {model} has {layers} layers; write layers within [0:{layers}]")
        for layer in range(first, last):
            before = placed[layer]
            if before is not None:
                raise ConfigError(
                    f"{where}: layer {layer} is placed twice, in {before} and in {rule.tier}; keep one of them"
                )
            placed[layer] = rule.tier
    return tuple(tier or Tier.HBM for tier in placed)
