"""Fit the scalars of configs/implementations.toml: python validation/calibrate.py [FAMILY]...

Coordinate search, per framework and kernel family, for the prologue, the replay gap and the matrix efficiency with
the least mean |log(predicted / measured)| over validation/calibration_sample.csv, which holds calibration rows of
A100 and H100 only.  Three scalars per pair; the same on every device.  With families named, the others keep theirs.
"""

from __future__ import annotations

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from math import log
from multiprocessing import get_context
from pathlib import Path

from simulator import hardware
from simulator.config import data_dir
from simulator.lowering.implementation import Framework, Implementation, implementations
from simulator.run.cases import KINDS
from simulator.run.predict import predict
from simulator.units import PS_PER_S

SAMPLE = Path(__file__).with_name("calibration_sample.csv")
FRAMEWORKS = ("vllm", "sglang", "trtllm")
FAMILIES = tuple(KINDS)
LARGEST_S = 3e-4  # longer rows take long to simulate and say little of fixed costs
GRID = {
    "prologue_ps": [ns * 1000 for ns in (0, 300, 600, 900, 1200, 1600, 2000, 2500, 3000, 4000, 5000, 6000)],
    "replay_ps": [ns * 1000 for ns in (0, 1000, 2000, 3000, 4000, 6000, 8000, 10000)],
    "matrix_efficiency": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "run_gap_ps": [0, 200, 400, 500, 600, 700, 800, 1000],
}
ALONE = {"run_gap_ps": "gemm"}
"""Scalars of one family alone."""

START = {"prologue_ps": 900_000, "replay_ps": 2_000_000, "matrix_efficiency": 0.8, "run_gap_ps": 0}
NOT_IN_CASE = ("kernel", "hardware", "version", "measured_s")


def rows(framework: str, family: str) -> list[dict[str, str]]:
    """Return every second of the sample's rows of one pair; the others show whether the fit carries over."""
    with SAMPLE.open(newline="") as file:
        every = [row for row in csv.DictReader(file) if (row["framework"], row["kernel"]) == (framework, family)]
    return [row for row in every if float(row["measured_s"]) <= LARGEST_S][::2]


def fit(pair: tuple[str, str]) -> tuple[str, str, Implementation, float]:
    """Return the best scalars of a (framework, family) pair and their error."""
    framework, family = pair
    cases = []
    for row in rows(framework, family):
        values = {key: value for key, value in row.items() if value and key not in NOT_IN_CASE}
        device = hardware.load(row["hardware"]).spec
        cases.append((KINDS[family].model_validate(values), device, float(row["measured_s"])))

    start = getattr(implementations(Framework(framework)), family).model_copy(update=START)
    known: dict[Implementation, list[float]] = {}

    def error(scalars: Implementation) -> float:
        alike = scalars.model_copy(update={"replay_ps": 0})  # the gap is added to what the calls of a graph take
        if alike not in known:
            known[alike] = [predict(case, device, alike).time_s for case, device, _ in cases]
        total = 0.0
        for (case, _, measured), time_s in zip(cases, known[alike], strict=True):
            gap_s = scalars.replay_ps // getattr(case, "weight_copies", 1) / PS_PER_S
            total += abs(log((time_s + gap_s) / measured))
        return total / len(cases)

    best, least = start, error(start)
    for _ in range(2):
        for name, values in GRID.items():
            for value in values if ALONE.get(name, family) == family else ():
                if value != getattr(best, name):
                    tried = best.model_copy(update={name: value})
                    found = error(tried)
                    if found < least:
                        best, least = tried, found
    return framework, family, best, least


def main() -> None:
    """Fit all pairs, or those of the families named, and write the file."""
    families = sys.argv[1:] or list(FAMILIES)
    pairs = [(framework, family) for family in families for framework in FRAMEWORKS]
    predict(KINDS["gemm"](m=1, n=64, k=64), hardware.load("h100-sxm").spec)  # compile before there are two processes
    found = {
        (framework, family): getattr(implementations(Framework(framework)), family)
        for framework in FRAMEWORKS
        for family in FAMILIES
    }
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for framework, family, scalars, error in pool.map(fit, pairs):
            print(f"{framework:8s} {family:18s} {scalars} mean |log ratio| {error:.3f}", flush=True)
            found[framework, family] = scalars
    lines = [
        "# The fitted scalars of each framework and kernel family, the same on every device.",
        "# Made by: python validation/calibrate.py",
        "# generic stands for vllm.",
    ]
    for framework in ("generic", *FRAMEWORKS):
        for family in FAMILIES:
            scalars = found["vllm" if framework == "generic" else framework, family]
            lines += [
                "",
                f"[{framework}.{family}]",
                f'prologue = "{scalars.prologue_ps // 1000} ns"',
                f'replay = "{scalars.replay_ps // 1000} ns"',
                f"matrix_efficiency = {scalars.matrix_efficiency}",
            ]
            if scalars.run_gap_ps:
                lines.append(f'run_gap = "{scalars.run_gap_ps / 1000:g} ns"')
            if scalars.softmax_exposed != 1:
                lines.append(f"softmax_exposed = {scalars.softmax_exposed}")
    (data_dir("configs") / "implementations.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
