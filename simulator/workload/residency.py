"""What has to be copied for each layer of a pass, and whether everything fits the tier it is placed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from simulator.errors import CapacityError, ConfigError
from simulator.hardware import Hardware
from simulator.models import Architecture
from simulator.units import format_bytes
from simulator.workload.operators import Operator, Tensor, TensorClass, TensorRef
from simulator.workload.placement import Residency, Tier, resolve
from simulator.workload.spec import Workload
from simulator.workload.transformer import build, tensors

BEFORE, AFTER = -1, 1 << 20
"""Places of a pass outside its layers."""


@dataclass(frozen=True, slots=True)
class Part:
    """What an operator reads of a copy; `fresh` data are others in each pass (table rows), `own` are what an earlier
    kernel of the run has written."""

    operator: str  # without its layer, such as "qkv"
    kind: str
    tensor_class: str
    bytes: int
    fresh: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Movement:
    """Bytes that move between a tier and device memory, stored in runs of `run_bytes` (0: one run); of a copy in,
    `parts` add up to them."""

    tier: Tier
    bytes: int
    run_bytes: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """The copies of one place of a pass: a layer, or what comes BEFORE or AFTER the layers.

    `fetch` may run ahead of time; `late` only once the place before has ended and stored what it had to; `store`
    follows the end of the place.
    """

    place: int
    fetch: tuple[Movement, ...] = ()
    late: tuple[Movement, ...] = ()
    store: tuple[Movement, ...] = ()

    @property
    def staged_bytes(self) -> int:
        """Device memory that the copies of this place need."""
        return sum(movement.bytes for movement in (*self.fetch, *self.late, *self.store))


def units(architecture: Architecture, workload: Workload, query_len: int, kv_len: int) -> list[Unit]:
    """Return the copies of one pass, place by place; places without any are left out."""
    residency = resolve(workload.placement, architecture.layers, architecture.name)
    page_bytes = (workload.page_tokens or 0) * architecture.kv_dim * workload.kv_dtype.bytes
    operators = build(architecture, workload, query_len, kv_len).operators
    places = [list(members) for _, members in groupby(operators, key=lambda operator: operator.layer)]
    found = []
    for index, members in enumerate(places):
        layer = members[0].layer
        place = layer if layer is not None else (BEFORE if index == 0 else AFTER)
        following = places[index + 1] if index + 1 < len(places) else []
        unit = Unit(
            place,
            tuple(_fetched(members, residency, page_bytes)),
            tuple(_late(members, residency, first=index == 0)),
            tuple(_stored(members, following, residency)),
        )
        if unit.staged_bytes:
            found.append(unit)
    return found


def _fetched(operators: list[Operator], residency: Residency, page_bytes: int) -> Iterator[Movement]:
    """Yield what a place needs and can have early: its weights, and the KV entries of earlier passes."""
    layer = operators[0].layer
    weights: dict[str, Part] = {}
    cached: dict[str, tuple[Operator, TensorRef]] = {}
    written: dict[str, int] = {}
    for operator in operators:
        for ref in operator.inputs:
            if ref.tensor_class is TensorClass.WEIGHTS and not _gathered(ref):
                if ref.name not in weights or ref.bytes > weights[ref.name].bytes:
                    weights[ref.name] = _part(operator, ref)
            elif ref.tensor_class is TensorClass.KV:
                cached[ref.name] = operator, ref
        written |= {ref.name: ref.bytes for ref in operator.outputs if ref.tensor_class is TensorClass.KV}
    tier = residency.embeddings if layer is None else residency.tier("weights", layer)
    if tier is not Tier.HBM and weights:
        yield Movement(tier, sum(part.bytes for part in weights.values()), parts=tuple(weights.values()))
    if layer is None or residency.tier("kv", layer) is Tier.HBM:
        return
    for name, (operator, ref) in cached.items():
        size = ref.bytes - written.get(name, 0)
        if size > 0:
            sequence = size // ref.rows
            run_bytes = min(sequence, page_bytes) if page_bytes else sequence
            yield Movement(residency.tier("kv", layer), size, run_bytes, (replace(_part(operator, ref), bytes=size),))


def _late(operators: list[Operator], residency: Residency, first: bool) -> Iterator[Movement]:
    """Yield what a place needs and cannot have early: table rows by token, and the residual stream."""
    layer = operators[0].layer
    if first and residency.embeddings is not Tier.HBM:
        for reader, ref in ((operator, ref) for operator in operators for ref in operator.inputs):
            if ref.tensor_class is TensorClass.WEIGHTS and _gathered(ref):
                part = replace(_part(reader, ref), fresh=True)
                yield Movement(residency.embeddings, ref.bytes, ref.row_bytes, (part,))
    if layer is not None and residency.tier("activations", layer) is not Tier.HBM:
        size = _carried(operators)
        part = Part(_short(operators[0]), operators[0].kind, TensorClass.ACTIVATIONS.value, size, own=True)
        yield Movement(residency.tier("activations", layer), size, parts=(part,))


def _stored(operators: list[Operator], following: list[Operator], residency: Residency) -> Iterator[Movement]:
    """Yield what a place leaves: its new KV entries, and the residual stream where the next place rests it."""
    layer = operators[0].layer
    if layer is not None and residency.tier("kv", layer) is not Tier.HBM:
        for operator in operators:
            for ref in operator.outputs:
                if ref.tensor_class is TensorClass.KV:
                    yield Movement(residency.tier("kv", layer), ref.bytes, ref.row_bytes)
    if following and following[0].layer is not None:
        tier = residency.tier("activations", following[0].layer)
        if tier is not Tier.HBM:
            yield Movement(tier, _carried(following))


def _carried(operators: list[Operator]) -> int:
    """Return the bytes of activations that come into a place: those it reads before it has written them."""
    carried: dict[str, int] = {}
    written: set[str] = set()
    for operator in operators:
        for ref in operator.inputs:
            if ref.tensor_class is TensorClass.ACTIVATIONS and ref.name not in written:
                carried[ref.name] = max(ref.bytes, carried.get(ref.name, 0))
        written |= {ref.name for ref in operator.outputs}
    return sum(carried.values())


def _part(operator: Operator, ref: TensorRef) -> Part:
    return Part(_short(operator), operator.kind, ref.tensor_class.value, ref.bytes)


def _short(operator: Operator) -> str:
    return operator.name.rpartition(".")[2]


def _gathered(ref: TensorRef) -> bool:
    return ref.row_bytes > 0 and ref.stride_bytes == 0


def check_capacity(architecture: Architecture, workload: Workload, hardware: Hardware) -> None:
    """Raise ConfigError for a tier that the device does not have, CapacityError for one that is too small."""
    placement = workload.placement
    residency = resolve(placement, architecture.layers, architecture.name)
    for tier, table in ((Tier.DRAM, hardware.host), (Tier.SSD, hardware.ssd)):
        if tier in residency.tiers and table is None:
            raise ConfigError(
                f"workload.placement: {hardware.name} has no {tier} tier; place in hbm, or describe one "
                f"({'host.kind and link.kind' if tier is Tier.DRAM else 'ssd.kind'})"
            )
    whole = tensors(architecture, workload)
    placed = dict.fromkeys(Tier, 0)
    for tensor in whole.values():
        placed[tier_of(tensor, residency)] += tensor.bytes
    sizes = {
        Tier.DRAM: hardware.host.size_bytes if hardware.host else 0,
        Tier.SSD: hardware.ssd.size_bytes if hardware.ssd else 0,
    }
    for tier, size in sizes.items():
        if placed[tier] > size:
            raise CapacityError(
                f"workload.placement: {format_bytes(placed[tier])} placed in {tier} exceed its {format_bytes(size)}; "
                f"place fewer layers there, or --set {'host' if tier is Tier.DRAM else 'ssd'}.size"
            )
    staging = staging_bytes(architecture, workload)
    needed = placed[Tier.HBM] + staging
    if needed > hardware.hbm.size_bytes:
        raise CapacityError(_too_much(architecture, workload, hardware, whole.values(), staging, needed))


def staging_bytes(architecture: Architecture, workload: Workload) -> int:
    """Return the device memory set aside for what is copied in and out: one buffer per layer in use or on its way."""
    placement = workload.placement
    if placement is None:
        return 0
    sizes = [unit.staged_bytes for unit in units(architecture, workload, workload.query_len, workload.kv_len)]
    return min(placement.prefetch_layers + 1, len(sizes)) * max(sizes, default=0)


def tier_of(tensor: Tensor, residency: Residency) -> Tier:
    """Return where a tensor rests.  Activation buffers themselves always lie in device memory."""
    layer = _layer_of(tensor.name)
    if tensor.tensor_class is TensorClass.WEIGHTS:
        return residency.embeddings if layer is None else residency.tier("weights", layer)
    if tensor.tensor_class is TensorClass.KV and layer is not None:
        return residency.tier("kv", layer)
    return Tier.HBM


def _layer_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "layers" else None


def _too_much(
    architecture: Architecture,
    workload: Workload,
    hardware: Hardware,
    whole: Iterable[Tensor],
    staging: int,
    needed: int,
) -> str:
    by_class = dict.fromkeys(TensorClass, 0)
    residency = resolve(workload.placement, architecture.layers, architecture.name)
    for tensor in whole:
        if tier_of(tensor, residency) is Tier.HBM:
            by_class[tensor.tensor_class] += tensor.bytes
    rest = by_class[TensorClass.ACTIVATIONS] + by_class[TensorClass.METADATA]
    return (
        f"{architecture.name}: weights {format_bytes(by_class[TensorClass.WEIGHTS])} + KV cache "
        f"{format_bytes(by_class[TensorClass.KV])} + activations {format_bytes(rest)}"
        + (f" + staging of placed layers {format_bytes(staging)}" if staging else "")
        + f" = {format_bytes(needed)} exceed the {format_bytes(hardware.hbm.size_bytes)} of {hardware.name}; "
        f"lower the batch or the context, --set hbm.size{_suggestion(architecture, workload, hardware)}"
    )


def _suggestion(architecture: Architecture, workload: Workload, hardware: Hardware) -> str:
    """Return the shortest range of weights to leave in host DRAM for the rest to fit, where there is one."""
    if hardware.host is None or workload.placement is not None:
        return ", or place layers elsewhere (--placement)"
    whole = tensors(architecture, workload).values()
    total = sum(tensor.bytes for tensor in whole)
    weights = [t for t in whole if t.tensor_class is TensorClass.WEIGHTS and _layer_of(t.name) is not None]
    layer = max(sum(t.bytes for t in weights if _layer_of(t.name) == number) for number in (0, architecture.layers - 1))
    for first in range(architecture.layers - 1, -1, -1):
        moved = (architecture.layers - first) * layer
        if total - moved + 2 * layer <= hardware.hbm.size_bytes and moved <= hardware.host.size_bytes:
            return f", or leave weights in the host: --placement weights=dram:layers[{first}:{architecture.layers}]"
    return ""
