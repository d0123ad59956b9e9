"""Is every command explained and documented, is help cheap, and do the catalogues list what ships?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from commandline import ROOT, Command, start

import simulator
from simulator.cli.main import cli
from simulator.config import data_dir


def commands(group: click.Group, path: str = "tierscope") -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand with what is typed for it."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(cli))
LEAVES = [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)]
HEAVY = ["numba", "numpy", "pyarrow", "plotly", "matplotlib", "pydantic", "networkx", "simpy", "rich", "jinja2"]


def test_the_contract_s_commands_are_there() -> None:
    expected = {
        "run",
        "predict",
        "trace generate",
        "trace info",
        "trace locality",
        "replay",
        "bench",
        "validate",
        "list",
        "show hardware",
    }
    assert {f"tierscope {name}" for name in expected} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_command_and_options_have_help(path: str) -> None:
    command = COMMANDS[path]
    assert command.help and command.help.strip().endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("form", "output"):
            assert parameter.help, f"{path} {parameter.opts[0]}"


@pytest.mark.parametrize("path", LEAVES)
def test_command_is_in_the_readme(path: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"{re.escape(path)}\b", text), f"README.md does not show `{path}`"


def test_help_is_printed_for_every_command(tierscope: Command) -> None:
    top = tierscope("--help")
    assert (top.code, top.err) == (0, "")
    assert all(name in top.out for name in cli.commands)
    leaf = tierscope("run", "-h")
    assert leaf.code == 0
    assert all(option in leaf.out for option in ("--model", "--hardware", "--set", "--exact", "--report", "RUN.toml"))
    with click.Context(cli, info_name="tierscope") as parent:
        for path, command in COMMANDS.items():
            assert command.get_help(click.Context(command, info_name=path.split()[-1], parent=parent)), path


def test_version(tierscope: Command) -> None:
    assert tierscope("--version").out == f"tierscope, version {simulator.__version__}\n"


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys; import simulator.cli.main; print(*sorted(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "simulator.cli.run" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("hardware", "h100-sxm"),
        ("models", "gpt2"),
        ("dram", "hbm4"),
        ("links", "nvlink-c2c"),
        ("hosts", "grace"),
        ("ssds", "nvme-gen4"),
    ],
)
def test_list_names_what_ships(tierscope: Command, kind: str, one: str) -> None:
    finished = tierscope("list", kind)
    assert (finished.code, finished.err) == (0, "")
    names = finished.out.splitlines()
    files = (data_dir("configs") / kind).iterdir()
    assert names == sorted(path.stem for path in files if path.suffix != ".md")
    assert one in names


def test_show_hardware_gives_every_number_its_source(tierscope: Command) -> None:
    finished = tierscope("show", "hardware", "h100-sxm", "--set", "l2.ways=8", "--format", "json")
    assert (finished.code, finished.err) == (0, "")
    text = json.dumps(finished.json)
    assert "set on the command line" in text
    table = tierscope("show", "hardware", "h100-sxm")
    assert table.code == 0
    for word in ("l2", "size", "50 MiB", "hbm", "t_rcd", "NVIDIA"):
        assert word in table.out


def test_shown_hardware_ends_with_the_peaks_of_a_data_sheet(tierscope: Command) -> None:
    peaks = tierscope("show", "hardware", "mi210").out.splitlines()[-1]
    assert peaks.startswith("Peaks: fp32 45.3 Tflop/s, bf16 181 Tflop/s, fp16 181 Tflop/s")
    assert "HBM2E 1.64 TB/s" in peaks


def test_a_device_of_ones_own_begins_as_a_copy(tierscope: Command, tmp_path: Path) -> None:
    shipped = tierscope("show", "hardware", "l40s", "--format", "toml").out
    own = shipped.replace("value = 142", "value = 58").replace("142,", "58,")
    assert own != shipped
    (tmp_path / "l4.toml").write_text(own)
    shown = tierscope("show", "hardware", str(tmp_path / "l4.toml"), "--format", "json").json
    assert (shown["sm.count"]["value"], shown["hbm.t_rcd"]["value"]) == (58, "14.82 ns")
    refused = tierscope("show", "hardware", "l40s", "--format", "toml", "--set", "sm.count=58")
    assert (refused.code, refused.out) == (2, "")
    assert "edit" in refused.err


def test_shown_hardware_can_be_used_again(tierscope: Command) -> None:
    """The description in a result is complete: run from it, the result is the same."""
    options = ("--phase", "decode", "--context", "32", "--format", "json")
    first = tierscope("run", "--model", "gpt2", "--hardware", "l40s", *options).json
    settings = [
        f"{table}.{key}={value}"
        for table, part in first["config"]["hardware"].items()
        if isinstance(part, dict)
        for key, value in part.items()
        if value is not None and not isinstance(value, dict | bool)
    ]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    again = tierscope("run", "--model", "gpt2", "--hardware", "l40s", *arguments, *options).json
    assert again["config"] == first["config"]
    assert again["summary"] == first["summary"]


def test_no_arguments_show_the_help(tierscope: Command) -> None:
    finished = tierscope()
    assert finished.code in (0, 2)
    assert "Usage: tierscope" in finished.out + finished.err
    assert len((finished.out + finished.err).splitlines()) > 5, "help is to be read, not one long line"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        finished = start(tmp_path, "list", "models", stdout=pipe)
    assert (finished.code, finished.err) == (0, "")
