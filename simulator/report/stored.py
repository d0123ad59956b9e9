"""Reading a result that `--format json` wrote, and refusing what is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simulator import config
from simulator.errors import ConfigError
from simulator.report.text import KERNEL_COLUMNS
from simulator.report.values import Result

SCHEMA = "tierscope.result/1"
MOST_BYTES = 1 << 30

_WORDS = {"name", "operator", "limiter"}
_KEYS = {
    "provenance": ("exact", "extrapolated_kernels", "interpolated_steps", "config_sha256"),
    "summary": (
        *("time_s", "ttft_s", "tpot_s", "tokens_per_s", "flops", "dram_bytes", "arithmetic_intensity", "energy_j"),
        *("limiter", "peak_flops_per_s"),
    ),
    "tiers": ("sram", "l2", "hbm", "dram", "link"),
    "concurrency": ("sm", "l2", "waits", "busy"),
}
_TIERS = {
    "sram": ("hit_rate",),
    "l2": ("read_bytes", "hit_rate"),
    "hbm": ("utilization", "bandwidth_bytes_per_s", "peak_bandwidth_bytes_per_s"),
    "link": ("read_bytes", "exposed_s"),
}
_FLIGHT = ("mean_bytes", "needed_bytes", "mean_latency_s")


def is_result(path: Path) -> bool:
    """Return whether a file is meant to be a result, not the description of a run: by its ending."""
    return path.suffix == ".json"


def read(path: Path) -> Result:
    """Return the result in a JSON file; raises ConfigError with file, key and remedy when it is none."""
    try:
        tree = json.loads(config.read_text(path, MOST_BYTES))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}; write it again") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not usable JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: not a result (schema {SCHEMA}); write one with tierscope run ... --format json")
    for part, keys in _KEYS.items():
        _check(path, part, tree.get(part), keys)
    for tier, keys in _TIERS.items():
        _check(path, f"tiers.{tier}", tree["tiers"][tier], keys)
    _check(path, "concurrency.sm", tree["concurrency"]["sm"], _FLIGHT)
    _check(path, "config", tree.get("config"), ())
    kernels = tree.get("kernels")
    if not isinstance(kernels, list):
        raise ConfigError(f"{path}: kernels: a list is expected; write the result again with this version")
    for number, kernel in enumerate(kernels):
        _check(path, f"kernels.{number}", kernel, KERNEL_COLUMNS)
    return tree


def _check(path: Path, where: str, table: object, keys: Iterable[str]) -> None:
    """Refuse a table that is none or lacks a key, and numbers that are none; raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: {where}: a table is expected; write the result again with this version")
    for key in keys:
        if key not in table:
            raise ConfigError(f"{path}: {where}.{key}: missing; write the result again with this version")
        if not _fits(key, table[key]):
            raise ConfigError(f"{path}: {where}.{key}: {str(table[key])[:40]!r} is not what stands there in a result")


def _fits(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool | Mapping):
        return True
    if isinstance(value, str):
        return key in _WORDS or key.endswith("sha256")
    return isinstance(value, int | float) and math.isfinite(value) and key not in _WORDS
