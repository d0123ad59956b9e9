"""Do configuration mistakes name file, key and remedy, and does a resolved configuration read back as itself?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from simulator import config, hardware
from simulator.config import BitsPerSecond, Bytes, Hertz, Picoseconds, Spec
from simulator.errors import ConfigError
from simulator.hardware import Hardware


class Inner(Spec):
    size_bytes: Annotated[Bytes, Field(le=2**42)]
    latency_ps: Picoseconds
    ways: Annotated[int, Field(gt=0, le=16)] = 4
    two: tuple[int, int] = (0, 0)


class Outer(Spec):
    name: str
    inner: Inner
    clock_hz: Hertz = 10**9
    rate_bits_per_s: BitsPerSecond = 10**9
    pin_bits_per_s: BitsPerSecond = 10**9


GOOD = {"name": "x", "inner": {"size": "1 MiB", "latency": "10 ns"}}


def message(tree: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        config.build(Outer, tree, "file.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def inner(**changes: object) -> dict[str, object]:
    return {"name": "x", "inner": {"size": "1 MiB", "latency": "10 ns"} | changes}


def test_keys_have_no_unit_and_fields_have() -> None:
    built = config.build(Outer, GOOD, "file.toml")
    assert (built.inner.size_bytes, built.inner.latency_ps) == (2**20, 10_000)
    assert config.key_of("rate_bits_per_s") == "rate"
    assert config.key_of("clock_hz") == "clock"
    assert config.key_of("bytes") == "bytes"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"name": "x"}, "file.toml: inner: missing; add this key"),
        ({}, "file.toml: name, inner: missing; add these keys"),
        (inner(latency="10 lightyears"), "file.toml: inner.latency: unknown unit 'lightyears'"),
        (inner(latency="10"), "file.toml: inner.latency: '10' has no unit"),
        (inner(latency=10), "file.toml: inner.latency: write a quantity with a unit (ps, ns"),
        (inner(size=True), "write a quantity with a unit"),
        (inner(size="5 TiB"), "file.toml: inner.size: Input should be less than or equal to 4 TiB (given '5 TiB')"),
        (inner(two=3), "file.toml: inner.two: write a list in brackets, not 3"),
        (inner(ways=0), "file.toml: inner.ways: Input should be greater than 0"),
        (inner(ways="many"), "inner.ways: Input should be a valid integer"),
        (
            inner(sise="1 B"),
            "file.toml: inner.sise: unknown key; did you mean 'size'? allowed: latency, size, two, ways",
        ),
        (
            GOOD | {"colour": 1},
            "file.toml: colour: unknown key; did you mean 'clock'? allowed: clock, inner, name, pin, rate",
        ),
        (GOOD | {"inner": 5}, "file.toml: inner: write a table of keys, not 5"),
    ],
)
def test_a_mistake_names_file_key_and_remedy(tree: dict[str, object], expected: str) -> None:
    assert expected in message(tree)


def test_zero_needs_no_unit() -> None:
    assert config.build(Outer, inner(latency=0), "f").inner.latency_ps == 0


@given(
    size=st.integers(0, 2**42),
    latency=st.integers(0, 10**15),
    clock=st.integers(1, 10**11),
    rate=st.integers(1, 10**14),
    pin=st.integers(1, 10**11),
)
def test_what_is_shown_reads_back(size: int, latency: int, clock: int, rate: int, pin: int) -> None:
    tree = inner(size=f"{size} B", latency=f"{latency} ps")
    tree |= {"clock": f"{clock} Hz", "rate": f"{rate} bit/s", "pin": f"{pin} bit/s"}
    spec = config.build(Outer, tree, "file.toml")
    assert (spec.inner.size_bytes, spec.clock_hz, spec.pin_bits_per_s) == (size, clock, pin)
    dumped = json.loads(json.dumps(spec.model_dump(mode="json", by_alias=True)))
    assert config.build(Outer, dumped, "dump") == spec


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (48 << 10, "48 KiB"), (22.5 * 2**30, "22.5 GiB"), (384 * 10**10, "3.84 TB")],
)
def test_sizes_are_shown_as_data_sheets_have_them(size: float, shown: str) -> None:
    spec = config.build(Inner, {"size": f"{size:.0f} B", "latency": "1.5 us"}, "file.toml")
    assert spec.model_dump(mode="json", by_alias=True) == {
        "size": shown,
        "latency": "1.5 us",
        "ways": 4,
        "two": [0, 0],
    }


@pytest.mark.parametrize("name", config.names("hardware", ".toml"))
def test_resolved_hardware_reads_back(name: str) -> None:
    spec = hardware.load(name).spec
    dumped = json.loads(json.dumps(spec.model_dump(mode="json", by_alias=True)))
    assert config.build(Hardware, dumped, "dump") == spec


# Overrides


@pytest.mark.parametrize(
    ("assignment", "tree"),
    [
        ('l2.size="100 MiB"', {"l2": {"size": "100 MiB"}}),
        ("l2.size=100 MiB", {"l2": {"size": "100 MiB"}}),
        ("l2.size = 100 MiB ", {"l2": {"size": "100 MiB"}}),
        ("sm.count=7", {"sm": {"count": 7}}),
        ("a.b.c=true", {"a": {"b": {"c": True}}}),
        ("a=1.5", {"a": 1.5}),
        ("a=x=y", {"a": "x=y"}),
        ("l2.replacement=random", {"l2": {"replacement": "random"}}),
    ],
)
def test_overrides(assignment: str, tree: dict[str, object]) -> None:
    plain: dict[str, object] = {}
    notes = config.override(plain, [assignment])
    assert plain == tree
    assert list(notes.values()) == ["set on the command line"]
    assert list(notes) == [assignment.partition("=")[0].strip()]


def test_the_last_override_wins_and_others_stay() -> None:
    plain = {"l2": {"size": "1 MiB", "ways": 4}}
    config.override(plain, ["l2.size=2 MiB", "l2.size=3 MiB"])
    assert plain == {"l2": {"size": "3 MiB", "ways": 4}}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("l2.size", "--set 'l2.size': write key.path=value"),
        ("=5", "write key.path=value"),
        ("", "write key.path=value"),
        ("l2.size.deep=5", "'size' is a value, not a table"),
    ],
)
def test_overrides_that_cannot_be(assignment: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.override({"l2": {"size": "1 MiB"}}, [assignment])
    assert words in str(caught.value)


# Sources


def test_sources_are_split_from_values() -> None:
    tree = {"a": {"value": 1, "source": "book"}, "b": {"c": {"value": "2 B"}, "d": 3}, "e": []}
    assert config.split_sources(tree) == ({"a": 1, "b": {"c": "2 B", "d": 3}, "e": []}, {"a": "book"})


def test_a_source_without_a_value_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"^a\.b\.value: missing beside source; add it$"):
        config.split_sources({"a": {"b": {"source": "book"}}})


# Files and names


@pytest.mark.parametrize(
    ("reader", "text", "words"),
    [
        (config.read_toml, "a = \nb = 1", "not valid TOML"),
        (config.read_toml, "a = 1\nb = = 2\nc = 3", "line 2"),
        (config.read_json, '{"a": 1,\n "b": }', "not valid JSON: Expecting value at line 2"),
        (config.read_json, "[1]", "a JSON object is expected, not list"),
        (config.read_json, "[" * 100_000, "not usable JSON"),
        (config.read_json, '{"a": ' + "9" * 5000 + "}", "not usable JSON"),
        (config.read_toml, b"\xff\xfe", "not a UTF-8 text file"),
    ],
)
def test_damaged_files(reader: object, text: str | bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert callable(reader)
    with pytest.raises(ConfigError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_missing_and_large_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.read_text(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.read_text(tmp_path)
    (tmp_path / "large").write_bytes(b"x" * 1025)
    with pytest.raises(ConfigError, match=r"larger than 1 KiB"):
        config.read_text(tmp_path / "large", limit=1024)


def test_nearest_names() -> None:
    assert config.nearest("h10-sxm", ["h100-sxm", "a100"]) == "did you mean 'h100-sxm'? allowed: a100, h100-sxm"
    assert config.nearest("zzz", ["h100-sxm", "a100"]) == "allowed: a100, h100-sxm"


def test_find_tells_names_from_paths(tmp_path: Path) -> None:
    assert config.find("hardware", "h100-sxm", ".toml").name == "h100-sxm.toml"
    own = tmp_path / "own.toml"
    own.write_text("")
    assert config.find("hardware", str(own), ".toml") == own
    with pytest.raises(ConfigError, match=r"unknown hardware 'h100-smx': did you mean 'h100-sxm'\?"):
        config.find("hardware", "h100-smx", ".toml")
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
        config.find("hardware", "missing.toml", ".toml")
    with pytest.raises(ConfigError, match="unknown model 'lama'"):
        config.find("models", "lama", ".json")
