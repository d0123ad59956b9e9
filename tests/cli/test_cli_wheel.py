"""Does an installed wheel work in an empty directory, with its own configurations and without the checkout?"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest
from commandline import ROOT

from simulator.validation.measured import all_curves

SOURCES = ("simulator", "configs", "traces", "validation", "pyproject.toml", "setup.cfg", "README.md")


TINY = {"model_type": "gpt2", "n_embd": 128, "n_head": 2, "n_layer": 1, "n_positions": 64, "vocab_size": 100}


def outside(*command: object, folder: Path, **variables: str) -> str:
    """Run a command that knows nothing of the checkout; return its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= variables
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def builds_here() -> bool:
    """Return whether this environment has the build back end that pyproject.toml asks for."""
    if importlib.util.find_spec("setuptools") is None:
        return False
    return int(metadata.version("setuptools").split(".")[0]) >= 77


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    isolation = ("--no-build-isolation",) if builds_here() else ()
    outside(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", folder, source, folder=folder)
    built = list(folder.glob("tierscope-*.whl"))
    assert len(built) == 1
    return built[0]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    scheme = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    binaries = Path(sysconfig.get_path("scripts", "venv", scheme))
    outside(
        sys.executable, "-m", "pip", "--python", binaries / "python", "install", "-q", "--no-deps", wheel, folder=folder
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binaries


def test_configurations_come_from_inside_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "from simulator.config import data_dir; print(data_dir('configs'), data_dir('traces'), sep='\\n')"
    folders = outside(installed / "python", "-c", code, folder=tmp_path).split()
    assert len(folders) == 2
    for folder in folders:
        assert Path(folder).is_relative_to(installed.parent)
        assert not Path(folder).is_relative_to(ROOT)
    shipped = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.*") if path.is_file()}
    inside = {path.relative_to(folders[0]) for path in Path(folders[0]).rglob("*.*") if path.is_file()}
    assert inside == shipped


def test_measured_curves_come_from_inside_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "from simulator.validation.measured import all_curves; print(len(all_curves()))"
    shipped = outside(installed / "python", "-c", code, folder=tmp_path)
    assert int(shipped) == len(all_curves()) > 30


def test_every_module_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import simulator; print(*simulator.__path__)"
    folder = Path(outside(installed / "python", "-c", code, folder=tmp_path).strip())
    inside = {path.relative_to(folder) for path in folder.rglob("*.py")}
    assert inside >= {path.relative_to(ROOT / "simulator") for path in (ROOT / "simulator").rglob("*.py")}


def test_the_installed_command_works_in_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    """As plain Python: its core would be compiled anew for its own place, which takes a minute."""
    command = installed / "tierscope"
    tiny = tmp_path / "tiny" / "config.json"
    tiny.parent.mkdir()
    tiny.write_text(json.dumps(TINY))
    folder = tmp_path / "empty"
    folder.mkdir()
    options = ("--hardware", "a100-sxm-80gb", "--phase", "decode", "--context", "8")
    run = (command, "run", "--model", tiny, *options, "--format", "json", "--report", "r.html")
    result = json.loads(outside(*run, folder=folder, NUMBA_DISABLE_JIT="1"))
    assert result["summary"]["time_s"] > 0
    assert result["config"]["model"]["name"] == "tiny"
    assert result["provenance"]["commit"] is None
    outside(command, "trace", "generate", "--model", "gpt2", *options, "--output", "t.parquet", folder=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "t.parquet"]
    assert "h100-sxm" in outside(command, "list", "hardware", folder=folder)
