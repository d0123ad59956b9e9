"""Finding and resolving hardware descriptions: a shipped name or a path, its presets, and overrides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator import config
from simulator.errors import ConfigError
from simulator.hardware.spec import Hardware


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
    plain, sources, references = _read(path)
    chosen = _presets_chosen(overrides)
    for table, (naming, folder) in _PRESETS.items():
        own = plain.setdefault(table, {}) if f"{table}.{naming}" in chosen else plain.get(table)
        if not isinstance(own, dict):
            continue
        preset_name = chosen.get(f"{table}.{naming}", own.get(naming))
        if isinstance(preset_name, str):
            preset, preset_sources = _preset(folder, preset_name, f"{path}: {table}.{naming}")
            plain[table] = preset | own
            sources = {f"{table}.{key}": note for key, note in preset_sources.items()} | sources
    notes = config.override(plain, overrides)
    where = str(path) if not notes else f"{path} with --set"
    spec = config.build(Hardware, plain, where)
    return ResolvedHardware(spec, _cite(sources | notes, references))


_PRESETS = {
    "hbm": ("standard", "dram"),
    "link": ("kind", "links"),
    "host": ("kind", "hosts"),
    "ssd": ("kind", "ssds"),
}
"""Tables whose missing keys come from a preset: the key that names it, and its folder in configs."""


def _presets_chosen(overrides: Iterable[str]) -> dict[str, str]:
    """Return the presets that overrides name by key path, so that ``--set link.kind=pcie5`` brings its numbers."""
    named = {f"{table}.{naming}" for table, (naming, _) in _PRESETS.items()}
    pairs = (text.partition("=") for text in overrides)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs if key.strip() in named}


def _preset(folder: str, name: str, where: str) -> tuple[dict[str, object], dict[str, str]]:
    try:
        path = config.find(folder, name, ".toml")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    plain, sources, references = _read(path)
    return plain, _cite(sources, references)


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
