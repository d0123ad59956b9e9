"""Mean errors of the gate's draw: python validation/cells.py [FILE]

Prints, for each suite and part of validation/cells.json (or of FILE, such as an older one from the history), the mean
absolute percentage error over all calibration and over all test rows, and over those of each element type: the cells'
own, weighted by their rows.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

COMMITTED = Path(__file__).with_name("cells.json")


def main() -> None:
    """Print one line per suite, part, set and element type."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else COMMITTED
    sums: dict[tuple[str, str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for dtype in ("all", cell["dtype"]):
            total = sums[cell["suite"], cell["part"], cell["set"], dtype]
            total[0] += cell["rows"]
            total[1] += cell["rows"] * cell["mape"]
    for (suite, part, which, dtype), (rows, error) in sums.items():
        print(f"{suite:18s} {part:28s} {which:12s} {dtype:5s} {rows:5.0f} rows {100 * error / rows:5.1f} %")


if __name__ == "__main__":
    main()
