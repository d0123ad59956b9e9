"""Mean errors of the gate's draw: python validation/cells.py [FILE]

Prints the mean absolute percentage errors of validation/cells.json (or of FILE, such as an older one from the history)
by part, element type, framework and GPU, test and calibration rows apart, and marks what is over its limit or no better
than its line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.report.accuracy_summary import CALIBRATION, TEST, summary
from simulator.report.sheet import render_sheet
from simulator.validation.kernels import cells, gate
from simulator.validation.kernels.suite import SUITES

COMMITTED = Path(__file__).with_name("cells.json")
WIDTH = 200


def verdicts(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the cells of a gate with their limits and what they come to."""
    for cell in gate.read(path)["cells"]:
        part = next((part for part in SUITES[cell["suite"]].parts if part.name == cell["part"]), None)
        limit = cells.limit_of(part, cell["set"], cell["framework"], cell["dtype"]) if part else None
        line = cell.get("line")  # older files have none
        yield cell | {
            "target": limit,
            "within_target": None if limit is None else cell["mape"] <= limit,
            "beats_line": None if line is None else cell["mape"] < line,
        }


def main() -> None:
    """Print a table for test and one for calibration rows."""
    found = list(verdicts(Path(sys.argv[1]) if len(sys.argv) > 1 else COMMITTED))
    for kind in (TEST, CALIBRATION):
        sheet = summary(found, kind)
        print(render_sheet(sheet, WIDTH))
        print(f"{sheet.note}\n")


if __name__ == "__main__":
    main()
