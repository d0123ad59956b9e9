"""Are quantities read exactly, refused with advice, and shown the way people write them?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import units


@pytest.mark.parametrize(
    ("text", "table", "value"),
    [
        ("50 MiB", units.BYTES, 50 * 2**20),
        ("50MiB", units.BYTES, 50 * 2**20),
        ("  1.5 KiB ", units.BYTES, 1536),
        ("1 kB", units.BYTES, 1000),
        ("0 B", units.BYTES, 0),
        ("1_000 B", units.BYTES, 1000),
        ("3.35 TB/s", units.BANDWIDTH, 3_350_000_000_000),
        ("450 ns", units.TIME, 450_000),
        ("1.26 us", units.TIME, 1_260_000),
        ("1.26 µs", units.TIME, 1_260_000),
        ("2e3 ns", units.TIME, 2_000_000),
        ("1e-3 ns", units.TIME, 1),
        ("1755 MHz", units.FREQUENCY, 1_755_000_000),
        ("1.755 GHz", units.FREQUENCY, 1_755_000_000),
        ("5.2 Gbit/s", units.BIT_RATE, 5_200_000_000),
        ("5.2 Gb/s", units.BIT_RATE, 5_200_000_000),
        ("-3 ps", units.TIME, -3),
    ],
)
def test_quantities(text: str, table: dict[str, int], value: int) -> None:
    parsed = units.parse_quantity(text, table)
    assert parsed == value
    assert type(parsed) is int


@pytest.mark.parametrize(
    ("text", "table", "words"),
    [
        ("50", units.BYTES, "'50' has no unit: write one of B, kB"),
        ("50 MB/s", units.BYTES, "unknown unit 'MB/s'"),
        ("50 mib", units.BYTES, "unknown unit 'mib'"),
        ("50 GB", units.BANDWIDTH, "unknown unit 'GB'"),
        ("fifty B", units.BYTES, "cannot read 'fifty B': write a number and a unit"),
        ("", units.BYTES, "cannot read ''"),
        ("1,5 KiB", units.BYTES, "unknown unit"),
        ("nan ns", units.TIME, "cannot read"),
        ("inf ns", units.TIME, "cannot read"),
        ("0.5 ps", units.TIME, "'0.5 ps' is not a whole number of ps"),
        ("0.3 B", units.BYTES, "not a whole number of B"),
        ("1 ns 2", units.TIME, "unknown unit"),
        ("1e400 s", units.TIME, "'1e400 s' is more than 1e+30 ps"),
        ("-1e9999999 B", units.BYTES, "'-1e9999999' is out of range"),
        ("-1e9999 B", units.BYTES, "is more than 1e+30 B"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, table: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        units.parse_quantity(text, table)


@given(value=st.integers(0, 10**15), unit=st.sampled_from(sorted(units.BYTES)))
def test_integers_are_exact(value: int, unit: str) -> None:
    """No float is involved: an odd byte in a thousand TiB is not lost."""
    assert units.parse_quantity(f"{value} {unit}", units.BYTES) == value * units.BYTES[unit]


@given(thousandths=st.integers(0, 10**9))
def test_decimals_are_exact(thousandths: int) -> None:
    text = f"{thousandths // 1000}.{thousandths % 1000:03} ns"
    assert units.parse_quantity(text, units.TIME) == thousandths


def test_decimal_and_binary_prefixes_differ() -> None:
    assert units.BYTES["GB"] == 10**9
    assert units.BYTES["GiB"] == 2**30
    assert "KiHz" not in units.FREQUENCY


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.format_bytes(0), "0 B"),
        (units.format_bytes(100), "100 B"),
        (units.format_bytes(50 * 2**20), "50 MiB"),
        (units.format_bytes(1536), "1.50 KiB"),
        (units.format_bytes(2**40), "1 TiB"),
        (units.format_bandwidth(3.35e12), "3.35 TB/s"),
        (units.format_bandwidth(25.6e9), "25.6 GB/s"),
        (units.format_bandwidth(12), "12 B/s"),
        (units.format_bandwidth(117514), "118 kB/s"),
        (units.format_time(9.999e-3), "10.0 ms"),
        (units.format_time(5.31e-3), "5.31 ms"),
        (units.format_time(2), "2 s"),
        (units.format_time(860e-9), "860 ns"),
        (units.format_time(1.26e-6), "1.26 us"),
        (units.format_time(5e-12), "5 ps"),
        (units.format_time(0), "0 ps"),
        (units.format_time(-5.31e-3), "-5.31 ms"),
        (units.format_count(8.03e9), "8.03 G"),
        (units.format_count(12), "12"),
    ],
)
def test_shown(shown: str, expected: str) -> None:
    assert shown == expected
