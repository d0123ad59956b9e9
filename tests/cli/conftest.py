"""Commands run in a folder of their own: the test's, or one that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from commandline import Command
from forked import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """A process that forks for each command."""
    with Forks(tmp_path_factory.mktemp("streams")) as forks:
        yield forks


@pytest.fixture
def tierscope(forks: Forks, tmp_path: Path) -> Command:
    """Run the command in the test's own folder."""
    return partial(forks.start, tmp_path)


@pytest.fixture(scope="module")
def shared(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run the command in one folder for all tests of a file, for results that several of them look at."""
    return partial(forks.start, tmp_path_factory.mktemp("shared"))
