"""Measures tierscope against its budgets and against naive twins: python benchmarks/run.py [--quick].

See benchmarks/README.md for what each line means.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
from kernels import DECODE_8B
from measured import Line, command
from replayed import against_twins, dram_alone, line_streams, sectors, tiles
from whole import predictions, real_trace, reuse, starts

SECTIONS = {
    "commands": starts,
    "decode step": real_trace,
    "aligned tiles, one core": tiles,
    "lines, one core": line_streams,
    "sectors, one core": sectors,
    "DRAM alone, one core": dram_alone,
    "twins, one core": against_twins,
    "reuse distances, one core": reuse,
    "predict": predictions,
}


def machine() -> str:
    """Return processor, cores and versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    load_now = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {os.cpu_count()} cores{load_now}; Python {platform.python_version()}, numpy {np.__version__}"


def main() -> int:
    """Print the table; return 1 when a twin disagrees."""
    parser = argparse.ArgumentParser(description="Measure tierscope against its budgets.")
    parser.add_argument("--quick", action="store_true", help="shorter traces, fewer repeats: rates are a little low")
    parser.add_argument("--only", metavar="SECTION", choices=SECTIONS, help="one section: " + ", ".join(SECTIONS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the lines to this file")
    options = parser.parse_args()
    print(machine(), flush=True)
    command("run", *DECODE_8B)  # compiles, so that everything after it is warm
    lines: list[Line] = []
    for title, section in SECTIONS.items():
        if options.only not in (None, title):
            continue
        print(f"\n{title}", flush=True)
        for line in section(options.quick):
            verdict = {None: "", True: "ok", False: "MISSED"}[line.good]
            print(f"  {line.what:<54} {line.value:>32}  {line.budget:<17} {verdict}".rstrip(), flush=True)
            lines.append(line)
    if options.json:
        options.json.write_text(json.dumps([vars(line) for line in lines], indent=1) + "\n")
    return int(any(line.good is False and line.budget.startswith("=") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
