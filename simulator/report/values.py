"""Values of a result object as text: a null prints as a dash and a hostile name cannot leave its cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from simulator import units

Result = Mapping[str, Any]

DASH = "\N{EN DASH}"


def at(result: Result, *keys: str) -> Any:
    """Return the value under a path of keys, or None when a table on the way is null.

    Raises KeyError when a key is missing: the schema has every key.
    """
    value: Any = result
    for key in keys:
        if value is None:
            return None
        value = value[key]
    return value


def setting(result: Result, *keys: str) -> Any:
    """Return a value of the resolved configuration, or None when this run has no such key."""
    value: Any = result["config"]
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient, or None when either is null or the denominator is zero."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of the values that are not null, or None when all are."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def is_unused(tier: Mapping[str, Any] | None) -> bool:
    """Return whether a tier is null, or everything in it."""
    return tier is None or all(value is None for value in tier.values())


def shown(value: float | None, write: Callable[[float], str]) -> str:
    """Return `value` written by `write`, or a dash when it is null or not finite."""
    return DASH if value is None or not math.isfinite(value) else write(value)


def plain(text: object) -> str:
    """Return any value as one printable line; control characters become ``·`` and null a dash."""
    if text is None:
        return DASH
    return "".join(letter if letter.isprintable() else "·" for letter in str(text))


def size(count: float | None) -> str:
    """Return a byte count such as ``50 MiB``."""
    return shown(count, units.format_bytes)


def rate(bytes_per_s: float | None) -> str:
    """Return a bandwidth such as ``3.35 TB/s``."""
    return shown(bytes_per_s, units.format_bandwidth)


def time(seconds: float | None) -> str:
    """Return a time such as ``5.31 ms``."""
    return "0 s" if seconds == 0 else shown(seconds, units.format_time)


def count(number: float | None) -> str:
    """Return an integer with thousands separators, such as ``12,345``."""
    return shown(number, lambda value: f"{value:,.0f}")


def quantity(value: float | None, unit: str) -> str:
    """Return a value with a decimal prefix on its unit, such as ``989 Tflop/s``."""
    return shown(value, lambda known: _prefixed(known, unit))


def _prefixed(value: float, unit: str) -> str:
    digits, _, prefix = units.format_count(value).partition(" ")
    return f"{digits} {prefix}{unit}"


def short_count(number: float | None) -> str:
    """Return a count with a decimal prefix, such as ``131 k``."""
    return shown(number, units.format_count)


def number(value: float | None, unit: str) -> str:
    """Return a value without a prefix on its unit, such as ``1,230 flop/B``."""
    return shown(value, lambda known: f"{known:,.0f} {unit}" if abs(known) >= 1000 else _prefixed(known, unit))


def energy(joules: float | None) -> str:
    """Return an energy such as ``2.41 J`` or ``294 mJ``."""
    return shown(joules, _energy)


def _energy(joules: float) -> str:
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6)):
        if abs(joules) >= scale:
            return quantity(joules / scale, unit)
    return quantity(joules / 1e-9, "nJ")


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage with one decimal, such as ``93.1 %``."""
    return shown(fraction, _percent)


def _percent(fraction: float) -> str:
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if -0.0005 < fraction < 0:
        return "0.0 %"  # not -0.0
    return f"{100 * fraction:.1f} %" if fraction < 0.9995 else f"{100 * fraction:.0f} %"
