"""Hits explained below L2: what device memory had, and what was copied into it from host DRAM and SSD, and why.

A kernel starts when the copies of its layer have ended, so that it finds in device memory all it asks for.  Device
memory is looked at as the cache of the tiers below: what was copied in for a kernel it missed, the rest of what L2
asked of it it had.  A copy moves whole tensors: where kernels read parts of them, more is missed than was asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from simulator.analysis.hits import Explanation, Hits, Outcome, Refetch
from simulator.hardware import Hardware
from simulator.run.generate import Streaming
from simulator.trace.record import KernelHeader
from simulator.workload import Tier, Unit
from simulator.workload.residency import Movement, Part

NOTHING = Outcome(0, 0, 0, 0, 0)
Key = tuple[str, str]  # kernel and tensor class


def with_tiers_below(
    hits: Hits, hardware: Hardware, streaming: Streaming | None, kernels: Iterable[KernelHeader]
) -> Hits:
    """Return explained hits with rows for device memory and, where anything was copied in for the `kernels` that were
    replayed, for the tiers it came from.

    Of what was copied in, the first pass brings what had never been there (compulsory), and so does each pass for rows
    of other tokens; later passes bring again what had to make room, since staging buffers are used for the next layers
    (capacity), and so does what kernels had written, such as KV entries.
    """
    names: dict[int, dict[str, str]] = defaultdict(dict)  # by pass: kernel -> operator class
    for header in kernels:
        names[header.step][header.name] = header.operator
    units = streaming.units(frozenset(names)) if streaming else []
    asked = Counter({(row.kernel, row.tensor_class): _missed(row) for row in hits.kernels if row.tier == "l2"})
    first: Counter[Key] = Counter()
    again: Counter[Key] = Counter()
    served: dict[Tier, Counter[Key]] = defaultdict(Counter)
    begin = units[0][0] if units else 0
    for step, movement in ((step, movement) for step, unit in units for movement in (*unit.fetch, *unit.late)):
        for part in movement.parts:
            key = _reader(names[step], asked, part), part.tensor_class
            (first if part.fresh or (step == begin and not part.own) else again)[key] += part.bytes
            served[movement.tier][key] += part.bytes
    rows = [
        _row(Tier.HBM, key, max(0, asked[key] - first[key] - again[key]), first[key], again[key])
        for key in dict.fromkeys((*asked, *first, *again))
    ]
    rows += [_row(tier, key, size) for tier in sorted(served) for key, size in served[tier].items()]
    sizes = {
        Tier.HBM: hardware.hbm.size_bytes,
        Tier.DRAM: hardware.host.size_bytes if hardware.host else 0,
        Tier.SSD: hardware.ssd.size_bytes if hardware.ssd else 0,
    }
    refetched = _refetched(again, _displaced_by(streaming, units)) if streaming else []
    return replace(
        hits,
        capacity_bytes=hits.capacity_bytes | {tier.value: sizes[tier] for tier in (Tier.HBM, *sorted(served))},
        kernels=(*hits.kernels, *(row for row in rows if row.reads.asked_bytes)),
        refetched=(*hits.refetched, *refetched),
    )


def _missed(row: Explanation) -> int:
    return row.reads.compulsory_bytes + row.reads.capacity_bytes + row.reads.conflict_bytes


def _row(tier: Tier, key: Key, had: int, first: int = 0, again: int = 0) -> Explanation:
    return Explanation(tier.value, *key, Outcome(had, first, again, 0, 0), NOTHING)


def _reader(names: Mapping[str, str], asked: Mapping[Key, int], part: Part) -> str:
    """Return the kernel that reads a part: of its operator's, the one that asks for most of that class."""
    known = [name for name, kind in names.items() if kind == part.kind]
    named = [name for name in known if name.split(" ")[0] == part.operator]
    return max(named or known, key=lambda name: asked.get((name, part.tensor_class), 0), default=part.operator)


def _displaced_by(streaming: Streaming, units: Sequence[tuple[int, Unit]]) -> dict[str, str]:
    """Return for each tensor class that is copied in what most of its bytes made room for: buffers are handed on in
    order, to the copies `prefetch_layers` + 1 places further on."""
    ahead = streaming.placement.prefetch_layers + 1
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, unit), (_, later) in zip(units, units[ahead:], strict=False):
        sizes = Counter[str]()
        for part in _parts(later):
            sizes[part.tensor_class] += part.bytes
        for part in _parts(unit):
            if sizes:
                found[part.tensor_class][max(sizes, key=lambda name: sizes[name])] += part.bytes
    return {name: max(its, key=lambda other: its[other]) for name, its in found.items()}


def _parts(unit: Unit) -> list[Part]:
    movements: tuple[Movement, ...] = (*unit.fetch, *unit.late)
    return [part for movement in movements for part in movement.parts]


def _refetched(again: Counter[Key], displaced_by: dict[str, str]) -> list[Refetch]:
    return [
        Refetch(
            Tier.HBM.value,
            *key,
            "copies for later layers" if key[1] in displaced_by else None,
            displaced_by.get(key[1]),
            size,
        )
        for key, size in again.most_common()
    ]
