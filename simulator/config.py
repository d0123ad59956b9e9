"""Reading configurations: TOML and JSON files, overrides by key path, and errors that say file, key and remedy.

A leaf of a file may be a plain value or a table ``{ value = "50 MiB", source = "white paper, table 4" }``.  Keys are
written without a unit suffix because their value carries the unit; the field that holds the converted integer is
named with one (key ``l2.size``, field ``l2.size_bytes``).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from simulator import units
from simulator.errors import ConfigError

_SUFFIX = re.compile(r"_(bytes_per_s|bits_per_s|bytes|ps|hz)\Z")


def key_of(field: str) -> str:
    """Return the configuration key of a field: its name without the unit suffix."""
    return _SUFFIX.sub("", field)


class Spec(BaseModel):
    """A frozen description; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=key_of, populate_by_name=True, allow_inf_nan=False
    )


def _quantity(table: dict[str, int]) -> Any:
    def convert(value: object) -> object:
        if isinstance(value, str):
            return units.parse_quantity(value, table)
        if value != 0 or isinstance(value, bool):
            raise ValueError(f"write a quantity with a unit ({', '.join(table)}), not {value!r}")
        return value

    return BeforeValidator(convert)


def _shown(unit: str, table: dict[str, int]) -> Any:
    """Serialise as `_exact` writes it, so that a resolved config can be read again."""
    return PlainSerializer(lambda value: _exact(value, unit, table), return_type=str)


def _exact(value: int, unit: str, table: dict[str, int]) -> str:
    """Return a value with the unit, no larger than it, that leaves the fewest digits, at most three of them decimals:
    the largest of those; `unit` is that of the value."""
    written = []
    for name, factor in sorted(table.items(), key=lambda item: -item[1]):
        thousandths, rest = divmod(value * 1000, factor)
        if rest == 0 and value >= factor:
            written.append(f"{thousandths // 1000}{f'.{thousandths % 1000:03}'.rstrip('.0')} {name}")
    return min(written, key=lambda text: sum(map(str.isdigit, text)), default=f"{value} {unit}")


_UNITS = {
    "bytes": ("B", {name: factor for name, factor in units.BYTES.items() if name != "KB"}),
    "ps": ("ps", {name: factor for name, factor in units.TIME.items() if name != "µs"}),
    "hz": ("Hz", {"Hz": 1, "MHz": 10**6, "GHz": 10**9}),
    "bits_per_s": ("bit/s", {"bit/s": 1, "Mbit/s": 10**6, "Gbit/s": 10**9}),
    "bytes_per_s": ("B/s", {"B/s": 1, "MB/s": 10**6, "GB/s": 10**9}),
}
"""The unit of a field by the ending of its name, and those it is written in."""

Bytes = Annotated[int, _quantity(units.BYTES), _shown(*_UNITS["bytes"])]
Picoseconds = Annotated[int, _quantity(units.TIME), _shown(*_UNITS["ps"])]
Hertz = Annotated[int, _quantity(units.FREQUENCY), _shown(*_UNITS["hz"])]
BitsPerSecond = Annotated[int, _quantity(units.BIT_RATE), _shown(*_UNITS["bits_per_s"])]
BytesPerSecond = Annotated[int, _quantity(units.BANDWIDTH), _shown(*_UNITS["bytes_per_s"])]

SpecT = TypeVar("SpecT", bound=Spec)


def data_dir(name: str) -> Path:
    """Return the folder of shipped data called `name` (configs, traces, validation): inside the installed package,
    or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tree of a TOML file; raises ConfigError with file and line when it cannot be read."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; raises ConfigError with file and line when it cannot be read."""
    try:
        tree = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not usable JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a JSON object is expected, not {type(tree).__name__}")
    return tree


def read_text(path: Path, limit: int = 16 * 2**20) -> str:
    """Return a UTF-8 text file; raises ConfigError when it is missing, unreadable, larger than `limit` or not text."""
    try:
        if path.stat().st_size > limit:
            raise ConfigError(f"{path}: larger than {units.format_bytes(limit)}")
        return path.read_text(encoding="utf-8-sig")  # spreadsheets begin a CSV file with a byte order mark
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a UTF-8 text file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def find(kind: str, name: str, suffix: str) -> Path:
    """Return the file of a shipped configuration, or `name` itself when it is a path.

    `kind` is a folder of configs/.  Raises ConfigError with the nearest names when there is none.
    """
    folder = data_dir("configs") / kind
    shipped = folder / f"{name}{suffix}"
    if "/" not in name and shipped.is_file():
        return shipped
    path = Path(name)
    if path.is_file():
        return path
    if "/" in name or name.endswith(suffix):
        raise ConfigError(f"{name}: {'a folder, where a file is expected' if path.is_dir() else 'no such file'}")
    singular = kind.removesuffix("s")
    raise ConfigError(f"unknown {singular} {name!r}: {nearest(name, names(kind, suffix))}")


def names(kind: str, suffix: str) -> list[str]:
    """Return the names of the shipped configurations of one kind, sorted."""
    return sorted(path.name.removesuffix(suffix) for path in (data_dir("configs") / kind).glob(f"*{suffix}"))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return advice on which of the allowed names was meant."""
    choices = sorted(allowed)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(choices)}"


def split_sources(tree: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Return the plain tree and the source of each leaf by key path, from leaves written as {value, source}; raises
    ConfigError with the key path where such a leaf has another key."""
    plain: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, node in tree.items():
        where = f"{path}{key}"
        if isinstance(node, dict) and node.keys() == {"source"}:
            raise ConfigError(f"{where}.value: missing beside source; add it")
        if isinstance(node, dict) and "value" in node:
            if other := node.keys() - {"value", "source"}:
                raise ConfigError(f"{where}.{min(other)}: unknown key; allowed beside value: source")
            plain[key] = node["value"]
            if "source" in node:
                sources[where] = str(node["source"])
        elif isinstance(node, dict):
            plain[key], below = split_sources(node, where + ".")
            sources |= below
        else:
            plain[key] = node
    return plain, sources


def override(tree: dict[str, Any], assignments: Iterable[str]) -> dict[str, str]:
    """Apply ``key.path=value`` assignments to a plain tree in place; return the source note of each key set.

    The value is read as TOML where it parses and as a bare string otherwise, so that quotes around a quantity are
    optional.  Raises ConfigError when an assignment has no ``=`` or its path runs through a leaf.
    """
    notes: dict[str, str] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        path = path.strip()
        if not equals or not path:
            raise ConfigError(f'--set {assignment!r}: write key.path=value, such as l2.size="100 MiB"')
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                raise ConfigError(f"--set {assignment!r}: {parent!r} is a value, not a table")
            node = below
        node[leaf] = value
        notes[path] = "set on the command line"
    return notes


def build(spec: type[SpecT], tree: Mapping[str, Any], where: str) -> SpecT:
    """Return the validated spec of a plain tree; raises ConfigError naming `where`, the key path and the remedy."""
    try:
        return spec.model_validate(tree)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        missing = [".".join(map(str, mistake["loc"])) for mistake in mistakes if mistake["type"] == "missing"]
        unknown = (mistake for mistake in mistakes if mistake["type"] == "extra_forbidden")
        first = next(unknown, mistakes[0])  # a misspelt key is why another is missing
        if first["type"] == "missing" and len(missing) > 1:
            raise ConfigError(f"{where}: {', '.join(missing)}: missing; add these keys") from error
        path, message = _within(spec, first["loc"], _explain(spec, first))
        raise ConfigError(f"{where}: {path}: {message}" if path else f"{where}: {message}") from error


def _within(spec: type[Spec], loc: tuple[str | int, ...], message: str) -> tuple[str, str]:
    """Return the key path of a mistake and what is wrong there: a check of a whole table begins with the key it is
    about, such as ``size must be ...`` of ``l2``, or ``sm.outstanding must ...`` of all."""
    path = [str(part) for part in loc]
    key, _, rest = message.partition(" ")
    owner = _owner(spec, [*loc, *key.split(".")[:-1]])
    named = owner is not None and key.split(".")[-1] in map(key_of, owner.model_fields)
    if named and (path or "." in key):
        return ".".join([*path, key]), rest
    return ".".join(path), message


def _explain(spec: type[Spec], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        owner = _owner(spec, error["loc"][:-1])
        allowed = [key_of(field) for field in owner.model_fields] if owner else []
        return f"unknown key; {nearest(str(error['loc'][-1]), allowed)}"
    if error["type"] == "missing":
        return "missing; add this key"
    given = error.get("input")
    if error["type"] in _WANTED:
        return f"write {_WANTED[error['type']]}, not {given!r}"
    message = _with_unit(str(error["msg"]).removeprefix("Value error, "), error, _field(spec, error["loc"]))
    return message if isinstance(given, dict) or repr(given) in message else f"{message} (given {given!r})"


_WANTED = {"model_type": "a table of keys", "dict_type": "a table of keys", "tuple_type": "a list in brackets"}
"""What has to stand where pydantic would speak of Python's types."""


def _with_unit(message: str, error: Any, field: str) -> str:
    """Return a message on a bound with the unit that the field's name ends with, if it does."""
    ending = _SUFFIX.search(field)
    limit = next((bound for key, bound in error.get("ctx", {}).items() if key in ("gt", "ge", "lt", "le")), 0)
    return message.replace(str(limit), _exact(limit, *_UNITS[ending[1]])) if ending and limit else message


def _field(spec: type[Spec], path: Sequence[str | int]) -> str:
    """Return the name of the field that a key path leads to, with its unit; "" where it leads to none."""
    owner = _owner(spec, path[:-1])
    names_here = owner.model_fields if owner and path else ()
    return next((name for name in names_here if path[-1] in (name, key_of(name))), "")


def _owner(spec: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel] | None:
    """Return the model that a key path leads to."""
    current: type[BaseModel] | None = spec
    for part in path:
        if current is None:
            return None
        field = next((f for n, f in current.model_fields.items() if part in (n, key_of(n))), None)
        kind = field.annotation if field else None
        models = (m for m in (kind, *get_args(kind)) if isinstance(m, type) and issubclass(m, BaseModel))
        current = next(models, None)  # an optional table is a union with None
    return current
