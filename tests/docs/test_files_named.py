"""Does every file that the documentation names exist?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "traces/README.md", "configs/hardware/README.md"),
    *("validation/README.md", "validation/DEVIATIONS.md", "validation/counters.md"),
)
NAMED = re.compile(r"`([\w./-]+\.py)`|\]\((?!http)([^)#]+)")


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    """A module stands as its path in the package, or by its name alone."""
    modules = {path.name for folder in ("simulator", "tests", "validation") for path in (ROOT / folder).rglob("*.py")}
    folders = (ROOT, (ROOT / page).parent, ROOT / "simulator")
    for match in NAMED.finditer((ROOT / page).read_text(encoding="utf-8")):
        name = match[1] or match[2]
        assert any((folder / name).exists() for folder in folders) or ("/" not in name and name in modules), name
