"""Do imports point upwards in the list of layers only, and does every outside library stay where it belongs?

The layers are those of the design: a package may import what stands above it.  Imports inside functions and under
TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import simulator

PACKAGE = Path(simulator.__file__).parent

BASE = {"errors", "units", "config"}
MAY_IMPORT = {
    "": set(),  # simulator/__init__.py
    "errors": set(),
    "units": {"errors"},
    "config": {"errors", "units"},
    "hardware": BASE,
    "models": BASE | {"hardware"},
    "trace": BASE | {"hardware"},
    "core": {"errors", "units"},
    "theory": {"errors", "units"},
}
MAY_IMPORT["workload"] = BASE | {"hardware", "models", "trace", "core", "theory"}
MAY_IMPORT["lowering"] = MAY_IMPORT["workload"] | {"workload"}
MAY_IMPORT["memory"] = MAY_IMPORT["lowering"] | {"lowering"}
MAY_IMPORT["system"] = MAY_IMPORT["memory"] | {"memory"}
MAY_IMPORT["run"] = MAY_IMPORT["system"] | {"system"}
for _layer in ("analysis", "sweep", "validation"):
    MAY_IMPORT[_layer] = MAY_IMPORT["run"] | {"run"}
MAY_IMPORT["report"] = BASE | {"trace"}
MAY_IMPORT["cli"] = MAY_IMPORT["run"] | {"run", "analysis", "sweep", "validation", "report"}
MAY_IMPORT["__main__"] = {"cli"}

LIBRARIES = {  # where an outside library may be imported
    "numba": {"core"},
    "llvmlite": {"core"},
    "simpy": {"system", "memory"},
    "networkx": {"workload"},
    "click": {"cli"},
    "plotly": {"report"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "pyarrow": {"trace", "validation"},
    "rich": {"report", "cli"},
}

SLOW = ("numba", "llvmlite", "pyarrow", "plotly", "matplotlib", "rich", "networkx", "simpy")

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    """Return the package under simulator/ that a module belongs to, or the name of a module beside the packages."""
    name = path.relative_to(PACKAGE).with_suffix("").parts[0]
    return "" if name == "__init__" else name


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of everything a module imports, as ``package.module`` or ``package.module.name``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layers_imported(path: Path) -> Iterator[str]:
    """Yield the layers of the simulator that a module imports."""
    for name in imports_of(path):
        first, *rest = name.split(".")
        if first == "simulator" and rest and rest[0] in MAY_IMPORT:
            yield rest[0]


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_upwards(path: Path) -> None:
    layer = layer_of(path)
    assert layer in MAY_IMPORT, f"{layer} is in no layer: add it to the list in the design and here"
    below = {other for other in layers_imported(path) if other != layer} - MAY_IMPORT[layer]
    assert not below, f"{named(path)} is in {layer or 'simulator'} and imports {sorted(below)}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_libraries_stay_in_their_layer(path: Path) -> None:
    used = {name.split(".")[0] for name in imports_of(path)} & LIBRARIES.keys()
    foreign = {library for library in used if layer_of(path) not in LIBRARIES[library]}
    assert not foreign, f"{named(path)} imports {sorted(foreign)}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_model_never_prints(path: Path) -> None:
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert layer_of(path) == "cli" or not prints, f"{named(path)} prints in lines {prints}"


def test_every_package_is_a_layer() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= MAY_IMPORT.keys()


@pytest.mark.parametrize("package", ["theory", "hardware", "workload", "models", "lowering", "memory", "system"])
def test_public_names_exist(package: str) -> None:
    module = __import__(f"simulator.{package}", fromlist=["__all__"])
    assert module.__all__ == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_the_command_line_loads_nothing_slow() -> None:
    """``tierscope --help`` has 0.3 s: what takes long to import is imported by the command that needs it."""
    script = "import sys, simulator.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & set(SLOW)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import simulator.run.predict", ["run"]),
        ("from simulator import config, errors", ["config", "errors"]),
        ("def f():\n    from simulator.cli.main import main", ["cli"]),
        ("if TYPE_CHECKING:\n    from simulator.memory import Device", ["memory"]),
        ("import simulator\nimport os.path", []),
    ],
)
def test_the_reader_of_imports(source: str, expected: list[str], tmp_path: Path) -> None:
    """The test above is only as good as what it sees."""
    module = tmp_path / "module.py"
    module.write_text(source)
    assert list(layers_imported(module)) == expected
