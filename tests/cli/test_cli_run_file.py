"""Does a RUN.toml say what the options of `tierscope run` say, and do options win over it?"""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import PLACED, SMALL, Command, without_time_stamp

from simulator.config import data_dir

RUN = """
model = "gpt2"
hardware = "a100-sxm-80gb"
seed = 3
[set]
"l2.size" = "80 MiB"
[workload]
phase = "decode"
context = 100
batch = 2
page_tokens = 32
[protocol]
launch = "stream"
"""


def test_run_file_says_what_options_would(tierscope: Command, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    from_file = tierscope("run", "run.toml", "--format", "json").json
    options = ("--batch", 2, "--context", 100, "--page-tokens", 32, "--launch", "stream", "--seed", 3)
    typed = tierscope(*SMALL[:7], *options, "--set", "l2.size=80 MiB", "--format", "json").json
    assert without_time_stamp(from_file) == without_time_stamp(typed)


def test_options_override_the_run_file(tierscope: Command, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    options = ("--batch", 1, "--hardware", "h100-sxm", "--set", "l2.size=25 MiB", "--launch", "graph", "--exact")
    result = tierscope("run", "run.toml", *options, "--format", "json").json
    workload = result["config"]["workload"]
    assert (workload["batch"], workload["context"], workload["page_tokens"]) == (1, 100, 32)
    assert "H100" in result["config"]["hardware"]["name"]
    assert result["config"]["hardware"]["l2"]["size"] == "25 MiB"
    assert result["config"]["protocol"]["launch"] == "graph"
    assert (result["provenance"]["seed"], result["provenance"]["exact"]) == (3, True)


@pytest.mark.parametrize("path", sorted((data_dir("configs") / "runs").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_run_files_are_usable(path: Path) -> None:
    from simulator.cli.run import build_request
    from simulator.run.execute import prepare

    prepared = prepare(build_request(str(path), {}))
    assert next(iter(prepared.trace.kernels(None))).header.records > 0


def test_a_run_file_places_as_options_do_and_options_win(tierscope: Command, tmp_path: Path) -> None:
    text = 'model = "gpt2"\nhardware = "a100-sxm-80gb"\n[workload]\nphase = "decode"\ncontext = 64\npage_tokens = 16\n'
    text += '[workload.placement]\nweights = "dram:layers[3:6]"\nkv = ["ssd:layers[0:2]"]\n'
    (tmp_path / "run.toml").write_text(text)
    from_file = tierscope("run", "run.toml", "--format", "json").json
    assert without_time_stamp(from_file) == without_time_stamp(tierscope(*PLACED, "--format", "json").json)
    changed = tierscope("run", "run.toml", "--placement", "kv=hbm", "--prefetch-layers", "0", "--format", "json").json
    assert changed["config"]["workload"]["placement"] == {
        "weights": ["dram:layers[3:6]"],
        "kv": ["hbm"],
        "embeddings": [],
        "activations": [],
        "prefetch_layers": 0,
        "host_memory": "pinned",
    }
    assert changed["tiers"]["ssd"]["read_bytes"] is None
