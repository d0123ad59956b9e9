"""Finding and resolving hardware descriptions: a shipped name or a path, its presets, and overrides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from simulator import config
from simulator.errors import ConfigError
from simulator.hardware import derive
from simulator.hardware.dram import Hbm
from simulator.hardware.spec import Hardware
from simulator.hardware.tiers import Host, Link, Ssd


@dataclass(frozen=True)
class ResolvedHardware:
    """A device, and where each of its numbers comes from (key path to source)."""

    spec: Hardware
    sources: dict[str, str]


def load(name: str, overrides: Iterable[str] = ()) -> ResolvedHardware:
    """Return the device called `name` in configs/hardware (or at that path) with ``key=value`` overrides applied.

    Raises ConfigError naming file, key path and remedy.
    """
    overrides = tuple(overrides)
    path = config.find("hardware", name, ".toml")
    plain, sources = _filled(_described(path), str(path), _presets_chosen(overrides))
    notes = config.override(plain, overrides)
    where = str(path) if not notes else f"{path} with --set"
    _check_presets_named(plain, where)
    return ResolvedHardware(config.build(Hardware, plain, where), sources | notes)


class _Description(NamedTuple):
    """A tree of plain values, and the source of each leaf by key path."""

    plain: dict[str, Any]
    sources: dict[str, str]


def _described(path: Path, above: tuple[Path, ...] = ()) -> _Description:
    """Return what a file and the one it is based on say; keys of presets are not filled in yet."""
    plain, sources, references = _read(path)
    own = _Description(plain, _cite(sources, references))
    if "base" not in plain:
        missing = [table for table in _TABLES if table not in plain]
        if missing and plain.keys() <= Hardware.model_fields.keys():
            raise ConfigError(f"{path}: {', '.join(missing)}: missing; {_OR_BASE}")
        return own
    name = plain.pop("base")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: base: write the name of a device or the path of a file (given {name!r})")
    below = _base_path(path, name)
    if below in (path, *above):
        raise ConfigError(f"{path}: base: {name} is based on this file itself; name a device that is not")
    return _based(own, _described(below, (path, *above)), name, str(path))


def _base_path(path: Path, name: str) -> Path:
    """Return the file that `name` in the file at `path` means: one beside it, a shipped device, or a path."""
    beside = path.parent / name
    if beside.is_file():
        return beside
    try:
        return config.find("hardware", name, ".toml")
    except ConfigError as error:
        raise ConfigError(f"{path}: base: {error}") from error


def _based(own: _Description, base: _Description, name: str, where: str) -> _Description:
    """Return a description put over its base, with what follows for the rest."""
    tree = derive.over(own.plain, _without_other_presets(base.plain, own.plain, where))

    def build(found: list[derive.Derived]) -> Hardware:
        for each in found:
            derive.put(tree, each.key, each.value)
        return config.build(Hardware, _filled(_Description(tree, {}), where).plain, where)

    base_device = config.build(Hardware, _filled(base, where).plain, f"{where}: base {name}")
    found = derive.follow(own.plain, base_device, name, build)
    left = (key for key in base.sources if derive.has(tree, key) and not derive.has(own.plain, key))
    kept = {key: f"as {name}, {base.sources[key]}" for key in left}
    return _Description(tree, kept | {each.key: f"derived, {each.why}" for each in found} | own.sources)


def _without_other_presets(base: dict[str, Any], own: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the base without those of its keys that a preset brings which the description over it names anew."""
    left = dict(base)
    for table, (naming, folder) in _PRESETS.items():
        mine, its = own.get(table), base.get(table)
        chosen = mine.get(naming) if isinstance(mine, dict) else None
        if isinstance(chosen, str) and isinstance(its, dict) and its.get(naming) != chosen:
            preset = _preset(folder, chosen, f"{where}: {table}.{naming}").plain
            left[table] = {key: value for key, value in its.items() if key not in preset}
    return left


def _filled(given: _Description, where: str, chosen: Mapping[str, str] = MappingProxyType({})) -> _Description:
    """Return a description with the keys of presets put in; `chosen` ones go before those it names."""
    plain, sources = dict(given.plain), given.sources
    for table, (naming, folder) in _PRESETS.items():
        own = plain.setdefault(table, {}) if f"{table}.{naming}" in chosen else plain.get(table)
        if not isinstance(own, dict):
            continue
        preset_name = chosen.get(f"{table}.{naming}", own.get(naming))
        if isinstance(preset_name, str):
            preset = _preset(folder, preset_name, f"{where}: {table}.{naming}")
            plain[table] = preset.plain | own
            sources = {f"{table}.{key}": note for key, note in preset.sources.items()} | sources
    return _Description(plain, sources)


_TABLES = ("sm", "l1", "l2", "hbm", "launch")
_OR_BASE = 'add these tables, or name the nearest device in a first line base = "l40s" and give what differs'

_PRESETS = {
    "hbm": ("standard", "dram"),
    "link": ("kind", "links"),
    "host": ("kind", "hosts"),
    "ssd": ("kind", "ssds"),
}
"""Tables whose missing keys come from a preset: the key that names it, and its folder in configs."""

_KEYS = {"hbm": Hbm.model_fields, "link": Link.model_fields, "host": Host.model_fields, "ssd": Ssd.model_fields}


def _check_presets_named(tree: dict[str, Any], where: str) -> None:
    """Raise ConfigError where a table does not name its preset, without which nearly all of its keys are missing; where
    one of its keys is unknown, that is what has to be said."""
    for table, (naming, folder) in _PRESETS.items():
        own = tree.get(table)
        if isinstance(own, dict) and naming not in own and own.keys() <= set(map(config.key_of, _KEYS[table])):
            allowed = ", ".join(config.names(folder, ".toml"))
            raise ConfigError(f"{where}: {table}.{naming}: missing; name a preset: {allowed}")


def _presets_chosen(overrides: Iterable[str]) -> dict[str, str]:
    """Return the presets that overrides name by key path, so that ``--set link.kind=pcie5`` brings its numbers."""
    named = {f"{table}.{naming}" for table, (naming, _) in _PRESETS.items()}
    pairs = (text.partition("=") for text in overrides)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs if key.strip() in named}


def _preset(folder: str, name: str, where: str) -> _Description:
    try:
        path = config.find(folder, name, ".toml")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    plain, sources, references = _read(path)
    return _Description(plain, _cite(sources, references))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Return the plain tree of a file, the source of each leaf by key path, and the citations by their short names."""
    tree = config.read_toml(path)
    references = tree.pop("references", {})
    if not isinstance(references, dict):
        raise ConfigError(f"{path}: references: must be a table of short names and what they stand for")
    for name, citation in references.items():
        if not isinstance(citation, str):
            raise ConfigError(f"{path}: references.{name}: write what the name stands for as text (given {citation!r})")
    try:
        return *config.split_sources(tree), references
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _cite(sources: dict[str, str], references: dict[str, str]) -> dict[str, str]:
    """Replace the leading reference key of each source by the full citation."""
    cited = {}
    for key, source in sources.items():
        reference, comma, rest = source.partition(",")
        cited[key] = references[reference] + comma + rest if reference in references else source
    return cited
