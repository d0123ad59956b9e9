"""What follows for a device that is described by what differs from a known one (``base = "l40s"``).

A data sheet gives counts, clocks, sizes and peaks; the rest is the base's, carried over by the rules below.  They are
those by which the shipped descriptions were derived from one another, so that `tests/unit/test_hardware_base.py` can
hold them against devices that were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from simulator import units
from simulator.hardware.spec import Dtype, Hardware

Tree = dict[str, Any]

LINES_STEP = 192
"""Lines on their way of an L2 slice come in multiples of this (Accel-Sim's QV100)."""

IN_FLIGHT_MARGIN = 1.3
LOADED = 1.5
"""Bytes in flight fill memory at this multiple of its unloaded latency, with the margin to spare."""

MSHR_MARGIN = 2


class Derived(NamedTuple):
    """A key of a description, what follows for it, and why."""

    key: str
    value: str | int
    why: str


def over(own: Tree, base: Tree) -> Tree:
    """Return the base with what a description of its own says put over it, table by table."""
    tree = dict(base)
    for key, value in own.items():
        under = base.get(key)
        tree[key] = over(value, under) if isinstance(value, dict) and isinstance(under, dict) else value
    return tree


def put(tree: Tree, key: str, value: object) -> None:
    """Set the leaf at a key path, such as ``l2.clock``, in place."""
    *tables, leaf = key.split(".")
    for table in tables:
        tree = tree[table]
    tree[leaf] = value


def has(tree: Tree, key: str) -> bool:
    """Return whether a tree has a leaf or table at a key path."""
    node: object = tree
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def follow(own: Tree, base: Hardware, name: str, build: Callable[[list[Derived]], Hardware]) -> list[Derived]:
    """Return what follows for the keys that a description of its own leaves to its base.

    `name`: of the base, for the reasons; `build`: returns the device with what has been derived so far.  Raises
    ConfigError where `build` does.
    """
    found: list[Derived] = []
    device = build(found)
    for rules in (_by_clock, _by_share, _by_stacks, _by_slices, _by_bandwidth):
        found += [each for each in rules(device, base, name) if not has(own, each.key)]
        device = build(found)
    return found


def _by_clock(device: Hardware, base: Hardware, name: str) -> Iterator[Derived]:
    """Latencies outside the SM stay in ns; what the SM does takes as many cycles, and L2's clock goes with its own."""
    new, old = device.sm.clock_hz, base.sm.clock_hz
    if new == old:
        return
    ratio = f"{new / 1e6:g} / {old / 1e6:g}"
    yield Derived(
        "l2.clock", f"{round(base.l2.clock_hz * new / (old * 1e6))} MHz", f"{name}'s at the SM clock ratio {ratio}"
    )
    cycles = f"{name}'s SM cycles at {new / 1e6:g} MHz"
    yield Derived("l1.hit_latency", f"{round(base.l1.hit_latency_ps * old / new)} ps", cycles)
    yield Derived("launch.cta_start", f"{round(base.launch.cta_start_ps * old / new)} ps", cycles)


def _by_share(device: Hardware, base: Hardware, name: str) -> Iterator[Derived]:
    """What is kept up for seconds is the same share of the peak."""
    kept = base.sm.sustained_tensor_flops_per_clock
    for dtype in Dtype if kept else ():
        new, old, rate = (
            getattr(table, dtype.value)
            for table in (device.sm.tensor_flops_per_clock, base.sm.tensor_flops_per_clock, kept)
        )
        if new != old:
            why = f"{name}'s share of the peak, {100 * rate / old:.0f} %"
            yield Derived(f"sm.sustained_tensor_flops_per_clock.{dtype.value}", max(1, round(new * rate / old)), why)


def _by_stacks(device: Hardware, base: Hardware, name: str) -> Iterator[Derived]:
    """Each stack (or chip) of memory brings its slices of L2; another kind of memory takes as long, in ns, and loses
    the refresh time of its standard."""
    new, old = device.hbm.stacks, base.hbm.stacks
    if new != old:
        why = f"{name}'s slices a memory stack or chip"
        sites = base.l2.slice_sites and max(1, round(base.l2.slice_sites * new / old))
        step = base.l2.partitions * (sites or 1)
        yield Derived("l2.slices", max(1, round(base.l2.slices * new / (old * step))) * step, why)
        if sites:
            yield Derived("l2.slice_sites", sites, why)
    if more := _before_memory_ps(base) - _before_memory_ps(device):
        why = f"{name}'s DRAM latency in ns, with the row open: less tRP + tRCD of {device.hbm.standard.upper()}"
        yield Derived("hbm.latency", f"{max(1, base.hbm.latency_ps + more)} ps", why)
    if device.hbm.standard != base.hbm.standard:
        yield Derived("hbm.refresh", "spread", f"the refresh time of {device.hbm.standard.upper()} is lost")


def _before_memory_ps(device: Hardware) -> int:
    """Return what a miss of a pointer chase takes between L2 and an open row: half of them cross to the other
    partition, and each opens a row."""
    crossing = (device.l2.cross_latency_ps or 0) // 2 if device.l2.partitions == 2 else 0
    return crossing + device.hbm.t_rp_ps + device.hbm.t_rcd_ps


def _by_slices(device: Hardware, base: Hardware, name: str) -> Iterator[Derived]:
    """A slice of L2 is as large, and its share of what crosses between partitions the same."""
    new, old = device.l2.slices, base.l2.slices
    if new == old:
        return
    way = base.l2.partitions * base.l2.ways * base.l2.line_bytes
    size = round(base.l2.size_bytes * new / (old * way)) * way
    yield Derived("l2.size", f"{size} B", f"{name}'s size of a slice")
    if base.l2.cross_bytes_per_clock:
        why = f"{name}'s share of what all slices deliver"
        yield Derived("l2.cross_bytes_per_clock", round(base.l2.cross_bytes_per_clock * new / old), why)


def _by_bandwidth(device: Hardware, base: Hardware, name: str) -> Iterator[Derived]:
    """Bytes in flight are the base's, and more where memory would not be filled."""
    hbm, l2 = device.hbm, device.l2
    latency_ps = l2.hit_latency_ps + _before_memory_ps(device) + hbm.latency_ps
    needed = hbm.peak_bytes_per_s * latency_ps / units.PS_PER_S
    of_sm = IN_FLIGHT_MARGIN * LOADED * needed / device.sm.count
    if of_sm > base.sm.outstanding_bytes:
        sum_of = f"1.3 x {hbm.peak_bytes_per_s / 1e9:.0f} GB/s x {LOADED * latency_ps / 1e3:.0f} ns"
        why = f"{sum_of} (1.5 x DRAM latency) / {device.sm.count} SMs = {of_sm / 1e3:.1f} KB: next power of two"
        yield Derived("sm.outstanding", f"{1 << (int(of_sm) - 1).bit_length()} B", why)
    lines = MSHR_MARGIN * needed / (l2.slices * l2.line_bytes)
    if lines > base.l2.mshrs:
        why = f"the multiple of {LINES_STEP} that holds twice bandwidth x latency ({lines:.0f} lines)"
        yield Derived("l2.mshrs", -(-int(lines) // LINES_STEP) * LINES_STEP, why)
