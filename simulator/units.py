"""The one place where quantities written with units become integers, and back.

Inside the program a size is in bytes, a time in picoseconds, a frequency in hertz, a rate in bytes or bits per
second, all integers.  Decimal prefixes (k, M, G, T) are powers of 1000, binary ones (Ki, Mi, Gi, Ti) powers of 1024.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation, Overflow

PS_PER_S = 10**12
LARGEST = 10**30  # base units; more is a slip, and 1e999999 a number too long to go on with

_PREFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY_PREFIXES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_ALL_PREFIXES = _PREFIXES | _BINARY_PREFIXES

BYTES = {p + "B": f for p, f in _ALL_PREFIXES.items()}
TIME = {"ps": 1, "ns": 10**3, "us": 10**6, "µs": 10**6, "ms": 10**9, "s": 10**12}
FREQUENCY = {p + "Hz": f for p, f in _PREFIXES.items()}
BANDWIDTH = {p + "B/s": f for p, f in _ALL_PREFIXES.items()}
BIT_RATE = {p + "bit/s": f for p, f in _PREFIXES.items()} | {"Gb/s": 10**9, "Mb/s": 10**6}

_QUANTITY = re.compile(r"\s*([-+]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9].*?)?\s*\Z")


def parse_quantity(text: str, units: dict[str, int]) -> int:
    """Return the integer number of base units written in `text`, such as ``"50 MiB"`` with `units` `BYTES`.

    Raises ValueError when the number or the unit cannot be read, the unit is missing, or the value is not a whole
    number of base units or is beyond `LARGEST` of them.
    """
    match = _QUANTITY.match(text)
    expected = ", ".join(units)
    if match is None:
        raise ValueError(f"cannot read {text!r}: write a number and a unit ({expected})")
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f"{text!r} has no unit: write one of {expected}")
    if unit not in units:
        raise ValueError(f"unknown unit {unit!r} in {text!r}: write one of {expected}")
    try:
        value = Decimal(number.replace("_", "")) * units[unit]
    except (InvalidOperation, Overflow) as error:
        raise ValueError(f"cannot read {text!r}: {number!r} is out of range") from error
    if abs(value) > LARGEST:
        raise ValueError(f"{text!r} is more than {LARGEST:.0e} {next(iter(units))}")
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of {next(iter(units))}")
    return int(value)


def format_bytes(count: float) -> str:
    """Return a byte count with a binary prefix, such as ``50 MiB``."""
    return _scaled(count, [("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)], "B")


def format_bandwidth(bytes_per_s: float) -> str:
    """Return a rate with a decimal prefix, such as ``3.35 TB/s``."""
    return _scaled(bytes_per_s, [("TB/s", 10**12), ("GB/s", 10**9), ("MB/s", 10**6), ("kB/s", 10**3)], "B/s")


def format_time(seconds: float) -> str:
    """Return a time with the unit that keeps it between 1 and 1000, such as ``5.31 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if abs(seconds) >= scale:
            return f"{_digits(seconds / scale)} {unit}"
    return f"{_digits(seconds / 1e-12)} ps"


def format_count(count: float) -> str:
    """Return a plain count with a decimal prefix, such as ``8.03 G``."""
    return _scaled(count, [("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)], "").rstrip()


def _scaled(value: float, steps: list[tuple[str, int]], base: str) -> str:
    for unit, scale in steps:
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value)} {base}"


def _digits(value: float) -> str:
    if value == 0 or (value == int(value) and abs(value) < 1000):
        return str(int(value))
    rounded = float(f"{value:.3g}")  # 9.999 is 10.0, not 10.00
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{value:.{decimals}f}"
