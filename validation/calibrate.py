"""Fit the scalars of configs/implementations.toml: python validation/calibrate.py [--near | --held] [PAIR]...

Coordinate search, per framework and kernel family, for the scalars of `GRID` that the family has, with the least mean
|log(predicted / measured)| over validation/calibration_sample.csv, which holds calibration rows of A100 and H100 only,
of every element type and up to 1 ms.  At most six scalars per pair, those read off the same rows included (which the
file names); the same on every device.  With families or pairs (FRAMEWORK.FAMILY) named, the others keep theirs, and so
do scalars that are not in `GRID`.  The search starts at the scalars of the file and at those of `START`, and the better
end counts; with --near at the former alone.  --held fits nothing: it prints what the scalars of the file leave on the
rows that no fit sees.  A scalar at an end of its grid is named: it stands for a cost that is not modelled.  A scalar in
`SHARED` is one for all frameworks; it is found first, where all of them are fitted, with the least mean of their
errors, the others as the file has them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import log
from multiprocessing import get_context
from pathlib import Path

from simulator import hardware
from simulator.config import data_dir
from simulator.hardware import Dtype
from simulator.lowering.implementation import Framework, Implementation, implementations
from simulator.run.cases import KINDS, GemmCase
from simulator.run.predict import predict
from simulator.units import PS_PER_S
from simulator.validation.kernels.suite import measured_call

SAMPLE = Path(__file__).with_name("calibration_sample.csv")
FRAMEWORKS = ("vllm", "sglang", "trtllm")
FAMILIES = tuple(KINDS)
GRID = {
    "prologue_ps": [ns * 1000 for ns in (0, 300, 600, 900, 1200, 1600, 2000, 2500, 3000, 4000, 5000, 6000)],
    "replay_ps": [ns * 1000 for ns in (0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 12000, 15000)],
    "matrix_efficiency": [0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0],
    "run_gap_ps": [0, 200, 400, 600, 800, 1000, 1200, 1500, 2000, 3000],
    "warmup_cycles": [0, 500, 1000, 1500, 2000, 2500, 3000, 4000, 5000],
    "cast_cycles": [0, 200, 400, 600, 800, 1000, 1200, 1500, 2000, 2500, 3000, 4000],
    "softmax_exposed": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    "item_cycles": [0, 1000, 2000, 3000, 4000, 5000, 6500, 8000, 10000],
}
ALONE = {
    "run_gap_ps": "gemm",
    "warmup_cycles": "gemm",
    "cast_cycles": "gemm",
    "softmax_exposed": "prefill_attention",
    "item_cycles": "prefill_attention",
}
"""Scalars of one family alone."""

VLLM_ALONE = {"item_cycles"}
"""Scalars of families other than decode attention that vLLM's alone have (six numbers each)."""

SHARED = {"gemm": "run_gap_ps"}
"""What DRAM loses between runs of a tile's rows is its own and the tiles', which in bf16 are those of one library
(cuBLAS) under every framework."""

DECODE_GRID = {
    "prologue_cycles": [0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000],
    "replay_ps": GRID["replay_ps"],
    "matrix_efficiency": [0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
    "fp8_efficiency": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0],
    "item_cycles": [0, 500, 1000, 1500, 2000, 2500, 3000, 4000, 5000],
    "longer_cycles": [0, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 12000, 14000, 16000, 20000],
    "query_cycles": [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0],
    "other_registers": [0, 16, 24, 32, 40, 48, 56, 64, 80],
}
"""Those of decode attention, whose set-up is counted in cycles."""

DECODE_ALONE = {
    "item_cycles": ("vllm", "sglang"),
    "query_cycles": ("trtllm",),
    "other_registers": ("trtllm",),
    "longer_cycles": ("vllm", "trtllm"),
    "fp8_efficiency": ("sglang",),
}
"""Scalars of kernels that the other frameworks do not run on calibration GPUs; and one that TensorRT-LLM and vLLM have
none of: their products in fp8 keep up the share that bf16 does."""

START = {
    "prologue_ps": 900_000,
    "replay_ps": 2_000_000,
    "matrix_efficiency": 0.75,
    "run_gap_ps": 800,
    "warmup_cycles": 1500,
    "cast_cycles": 600,
    "softmax_exposed": 0.6,
    "item_cycles": 4000,
}
DECODE_START = {"replay_ps": 2_000_000, "matrix_efficiency": 0.6}
DECODE_ALONE_START = {
    "fp8_efficiency": 0.5,
    "item_cycles": 2000,
    "query_cycles": 1.0,
    "other_registers": 40,
    "longer_cycles": 4000,
}
NEAR, HELD = "--near", "--held"
NOT_IN_CASE = ("kernel", "hardware", "version", "measured_s")


def rows(framework: str, family: str, held: bool = False) -> list[dict[str, str]]:
    """Return every second of the sample's rows of one pair, or the others, which show whether the fit carries over."""
    with SAMPLE.open(newline="") as file:
        every = [row for row in csv.DictReader(file) if (row["framework"], row["kernel"]) == (framework, family)]
    return every[held::2]


Grid = Mapping[str, Sequence[float]]


class Errors:
    """The error of a pair by its scalars; a row is simulated once for all gaps between replays, which only add."""

    def __init__(self, framework: str, family: str, held: bool = False) -> None:
        self._cases = []
        self._times: dict[tuple[object, ...], float] = {}
        for row in rows(framework, family, held):
            values = {key: value for key, value in row.items() if value and key not in NOT_IN_CASE}
            call = measured_call(KINDS[family], framework, row["version"])
            case = KINDS[family].model_validate(values | call)
            calls = int(values.get("weight_copies", 1))
            self._cases.append((case, hardware.load(row["hardware"]).spec, float(row["measured_s"]), calls))

    def of(self, scalars: Implementation) -> float:
        """Return the mean |log(predicted / measured)|."""
        total = 0.0
        for place, (_, _, measured, calls) in enumerate(self._cases):
            total += abs(log((self._time_s(place, scalars) + scalars.replay_ps // calls / PS_PER_S) / measured))
        return total / len(self._cases)

    def _time_s(self, place: int, scalars: Implementation) -> float:
        """Return the time of a row without the gap between replays, simulated once for what it depends on."""
        case, device, _, _ = self._cases[place]
        idle = {"replay_ps": 0}
        if isinstance(case, GemmCase) and case.dtype is not Dtype.FP8:
            idle["cast_cycles"] = 0
        alone = scalars.model_copy(update=idle)
        key = place, *alone.model_dump().values()
        if key not in self._times:
            self._times[key] = predict(case, device, alone).time_s
        return self._times[key]


def grid_of(family: str, framework: str) -> Grid:
    """Return the values that are tried of each scalar of a family that a framework has for itself."""
    if family == "decode_attention":
        return {name: values for name, values in DECODE_GRID.items() if framework in DECODE_ALONE.get(name, FRAMEWORKS)}
    own = GRID.keys() - (set() if framework == "vllm" else VLLM_ALONE) - {SHARED.get(family)}
    return {name: GRID[name] for name in GRID if name in own and ALONE.get(name, family) == family}


def fit(
    pair: tuple[str, str], near: bool = False, shared: Mapping[str, float] | None = None
) -> tuple[str, str, Implementation, float]:
    """Return the best scalars of a (framework, family) pair and their error; `near`: going on from those it has;
    `shared`: the values of scalars that are not its own, by family, if they are not to stay as they are."""
    framework, family = pair
    errors = Errors(framework, family)
    grid = grid_of(family, framework)
    found = []
    for kept in (True,) if near else (True, False):
        start = starting(pair, kept)
        if shared and family in shared:
            start = start.model_copy(update={SHARED[family]: shared[family]})
        found.append(_descend(errors, grid, start, not kept and family == "decode_attention"))
    best, least = min(found, key=lambda pair: pair[1])
    return framework, family, best, least


def _descend(errors: Errors, grid: Grid, start: Implementation, coarse: bool) -> tuple[Implementation, float]:
    """Return the best scalars that are found from a start, `coarse`: with one of a few set-ups, and their error."""
    set_ups = [start.model_copy(update={"prologue_cycles": cycles}) for cycles in (1000, 4000, 6000)]
    found = (_replay_too(errors, grid, each) for each in (set_ups if coarse else [start]))
    best, least = min(found, key=lambda pair: pair[1])
    for _ in range(2):
        for name in grid:
            best, least = _walk(errors, grid, name, best, least)
    return best, least


def starting(pair: tuple[str, str], near: bool) -> Implementation:
    """Return the scalars at which the fit of a pair starts; those that it does not fit are what they were."""
    framework, family = pair
    kept: Implementation = getattr(implementations(Framework(framework)), family)
    if near:
        return kept
    first = DECODE_START | DECODE_ALONE_START if family == "decode_attention" else START
    return kept.model_copy(update={name: first[name] for name in grid_of(family, framework) if name in first})


def shared_error(family: str, value: float) -> float:
    """Return the mean error of a family's frameworks with the scalar they share at `value`, the others but the gap
    between replays as the file has them."""
    total = 0.0
    for framework in FRAMEWORKS:
        kept = starting((framework, family), near=True).model_copy(update={SHARED[family]: value})
        total += _replay_too(Errors(framework, family), grid_of(family, framework), kept)[1]
    return total / len(FRAMEWORKS)


def _walk(errors: Errors, grid: Grid, name: str, best: Implementation, least: float) -> tuple[Implementation, float]:
    """Return the best scalars along one of them, going from value to value of its grid while that helps."""
    values = grid[name]
    for step in (1, -1):
        place = min(range(len(values)), key=lambda i: abs(values[i] - getattr(best, name))) + step
        while 0 <= place < len(values):
            tried, found = _replay_too(errors, grid, best.model_copy(update={name: values[place]}))
            if found >= least:
                break
            best, least, place = tried, found, place + step
    return best, least


def _replay_too(errors: Errors, grid: Grid, scalars: Implementation) -> tuple[Implementation, float]:
    """Return the scalars with the best gap between replays, which costs no simulation, and their error."""
    tried = [scalars.model_copy(update={"replay_ps": value}) for value in grid["replay_ps"]]
    best = min(tried, key=errors.of)
    return best, errors.of(best)


def ends(family: str, framework: str, scalars: Implementation) -> list[str]:
    """Return the scalars of a family that lie at an end of their grid; none and all are ends of their own."""
    found = {name: (getattr(scalars, name), values) for name, values in grid_of(family, framework).items()}
    return [name for name, (value, tried) in found.items() if value in (min(tried), max(tried)) and value not in (0, 1)]


def _toml(scalars: Implementation) -> Iterator[str]:
    """Yield the lines of a table, scalars at their defaults left out."""
    for name, field in Implementation.model_fields.items():
        value = getattr(scalars, name)
        if value == field.default:
            continue
        if name.endswith("_ps"):
            yield f'{name.removesuffix("_ps")} = "{value / 1000:g} ns"'
        else:
            yield f"{name} = {value}"


def held_error(pair: tuple[str, str]) -> float:
    """Return what the scalars that a pair has leave on the rows that no fit sees."""
    framework, family = pair
    return Errors(framework, family, held=True).of(getattr(implementations(Framework(framework)), family))


def main() -> None:
    """Fit all pairs, or those named, and write the file; or say what it leaves on other rows."""
    every = [(framework, family) for family in FAMILIES for framework in FRAMEWORKS]
    near = NEAR in sys.argv
    wanted = [name for name in sys.argv[1:] if name not in (NEAR, HELD)] or list(FAMILIES)
    pairs = [pair for pair in every if pair[1] in wanted or ".".join(pair) in wanted]
    predict(KINDS["gemm"](m=1, n=64, k=64), hardware.load("h100-sxm").spec)  # compile before there are two processes
    found = {pair: getattr(implementations(Framework(pair[0])), pair[1]) for pair in every}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        if HELD in sys.argv:
            for (framework, family), error in zip(pairs, pool.map(held_error, pairs), strict=True):
                print(f"{framework:8s} {family:18s} mean |log ratio| {error:.3f} on rows not fitted to", flush=True)
            return
        shared = {}
        for family, name in SHARED.items():
            if all((framework, family) in pairs for framework in FRAMEWORKS):
                errors = list(pool.map(partial(shared_error, family), GRID[name]))
                shared[family] = GRID[name][errors.index(min(errors))]
                print(f"{'all':8s} {family:18s} {name} {shared[family]} mean |log ratio| {min(errors):.3f}", flush=True)
        for framework, family, scalars, error in pool.map(partial(fit, near=near, shared=shared), pairs):
            print(f"{framework:8s} {family:18s} {scalars} mean |log ratio| {error:.3f}", flush=True)
            for name in ends(family, framework, scalars):
                print(f"{framework:8s} {family:18s} {name} lies at an end of its grid", flush=True)
            found[framework, family] = scalars
    path = data_dir("configs") / "implementations.toml"
    lines = path.read_text(encoding="utf-8").partition("\n[")[0].splitlines()  # what each scalar is stays said
    for framework in ("generic", *FRAMEWORKS):
        for family in FAMILIES:
            scalars = found["vllm" if framework == "generic" else framework, family]
            lines += ["", f"[{framework}.{family}]", *_toml(scalars)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
