"""Does every mistake in the input end with exit code 2, one line that names the place, and nothing left behind?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commandline import ROOT, SMALL, Command, start

from simulator.config import data_dir

GPT2 = data_dir("configs") / "models" / "gpt2.json"
A100 = data_dir("configs") / "hardware" / "a100-sxm-80gb.toml"

BASE = SMALL[:5]
ON_H100 = ("--hardware", "h100-sxm")


@dataclass(frozen=True)
class Mistake:
    """A command that must be refused, the files it finds, and what the message has to name."""

    name: str
    arguments: tuple[str, ...]
    named: tuple[str, ...]
    files: dict[str, bytes | str] = field(default_factory=dict)


def model(**changes: Any) -> str:
    """Return the config.json of gpt2 with keys changed, or removed where None."""
    tree = json.loads(GPT2.read_text()) | changes
    return json.dumps({key: value for key, value in tree.items() if value is not None})


def device(old: str, new: str) -> str:
    """Return the A100's TOML with one place changed."""
    text = A100.read_text()
    assert old in text
    return text.replace(old, new, 1)


def parquet(**columns: Any) -> bytes:
    """Return a Parquet file of these columns."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def damaged() -> bytes:
    """Return a trace with bytes changed in the middle of a page."""
    sink = pa.BufferOutputStream()
    table = pa.table({"address": np.random.default_rng(0).integers(0, 2**40, 4000) * 8})
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(sink.getvalue())
    content[10_000:10_016] = bytes(16)
    return bytes(content)


TRACE = parquet(address=[0, 32, 64])
RUN = '[workload]\nphase = "decode"\ncontext = 64\n'
RUN_HEAD = 'model = "gpt2"\nhardware = "a100-sxm-80gb"\n'
CASE = "kernel,m,n,k\ngemm,1,64,64\n"


def with_model(content: str) -> dict[str, bytes | str]:
    return {"config.json": content}


def on_file(name: str) -> tuple[str, ...]:
    return ("run", "--model", name, *SMALL[3:])


MISTAKES = [
    # names
    Mistake("unknown command", ("rum",), ("'rum'",)),
    Mistake("unknown subcommand", ("trace", "make"), ("'make'",)),
    Mistake("unknown option", (*SMALL, "--turbo"), ("--turbo",)),
    Mistake("option without value", (*SMALL, "--set"), ("--set",)),
    Mistake("unknown model", on_file("gpt3"), ("'gpt3'", "did you mean 'gpt2'")),
    Mistake("unknown hardware", (*SMALL, "--hardware", "h1000-sxm"), ("'h1000-sxm'", "did you mean 'h100-sxm'")),
    Mistake("unknown kind", ("list", "planets"), ("planets", "hardware", "models")),
    Mistake("unknown device to show", ("show", "hardware", "abacus"), ("abacus", "h100-sxm")),
    Mistake("unknown format", (*SMALL, "--format", "xml"), ("xml", "json")),
    Mistake("unknown dtype", (*SMALL, "--dtype", "int3"), ("int3", "fp8")),
    Mistake("unknown phase", (*BASE, "--phase", "think"), ("think", "prefill")),
    # what has to be given, and what excludes each other
    Mistake("no model", ("run", *SMALL[3:]), ("--model",)),
    Mistake("no hardware", (*SMALL[:3], *SMALL[5:]), ("--hardware",)),
    Mistake("no phase", BASE, ("--phase",)),
    Mistake("no context", (*BASE, "--phase", "decode"), ("decode", "context")),
    Mistake("no prompt", (*BASE, "--phase", "prefill"), ("prefill", "prompt")),
    Mistake("no tokens", (*BASE, "--phase", "generate", "--prompt", "8"), ("generate", "tokens")),
    Mistake("prompt for decode", (*SMALL, "--prompt", "8"), ("prompt", "decode")),
    Mistake("context for prefill", (*BASE, "--phase", "prefill", "--context", "8"), ("context", "prefill")),
    Mistake("trace generate without output", ("trace", "generate", *SMALL[1:]), ("--output",)),
    Mistake("replay without hardware", ("replay", "t.parquet"), ("--hardware",), {"t.parquet": TRACE}),
    Mistake("predict without hardware", ("predict", "c.csv"), ("--hardware",), {"c.csv": CASE}),
    Mistake("replay without trace", ("replay", *ON_H100), ("TRACE",)),
    # numbers
    Mistake("text for a number", (*SMALL, "--batch", "many"), ("--batch", "many")),
    Mistake("zero batch", (*SMALL, "--batch", "0"), ("workload.batch", "greater than 0")),
    Mistake("negative context", (*SMALL, "--context", "-5"), ("workload.context", "-5")),
    Mistake("negative page", (*SMALL, "--page-tokens", "-1"), ("workload.page_tokens", "-1")),
    Mistake("negative seed", (*SMALL, "--seed", "-1"), ("seed", "-1")),
    Mistake("huge seed", (*SMALL, "--seed", str(10**30)), ("seed",)),
    Mistake("beyond learned positions", (*SMALL, "--context", "4096"), ("gpt2", "1024", "4096")),
    # --set
    Mistake("set without value", (*SMALL, "--set", "l2.size"), ("--set", "'l2.size'", "key.path=value")),
    Mistake("set unknown table", (*SMALL, "--set", "l3.size=1 MiB"), ("l3", "did you mean 'l2'")),
    Mistake("set unknown key", (*SMALL, "--set", "l2.sise=1 MiB"), ("l2.sise", "did you mean 'size'")),
    Mistake("set below a value", (*SMALL, "--set", "l2.size.x=1"), ("l2.size.x", "'size'")),
    Mistake("set a table to a value", (*SMALL, "--set", "l2=3"), ("--set", "l2")),
    Mistake("set without unit", (*SMALL, "--set", "l2.size=100"), ("l2.size", "unit", "MiB")),
    Mistake("set unknown unit", (*SMALL, "--set", "l2.size=100 parsecs"), ("l2.size", "parsecs", "MiB")),
    Mistake("set wrong unit", (*SMALL, "--set", "l2.hit_latency=5 MiB"), ("l2.hit_latency", "MiB", "ns")),
    Mistake("set a number without end", (*SMALL, "--set", "l2.size=1e9999999 B"), ("l2.size", "out of range")),
    Mistake("set text for a size", (*SMALL, "--set", "l2.size=fifty MiB"), ("l2.size", "fifty")),
    Mistake("set negative size", (*SMALL, "--set", "l2.size=-1 MiB"), ("l2.size", "-1 MiB", "greater than 0")),
    Mistake("set zero size", (*SMALL, "--set", "hbm.size=0 GiB"), ("hbm.size", "greater than 0")),
    Mistake("set zero count", (*SMALL, "--set", "sm.count=0"), ("sm.count", "greater than 0")),
    Mistake("set fraction of a count", (*SMALL, "--set", "sm.count=1.5"), ("sm.count", "1.5")),
    Mistake("set a truth for a count", (*SMALL, "--set", "sm.count=true"), ("sm.count",)),
    Mistake("set not a number", (*SMALL, "--set", "sm.count=nan"), ("sm.count", "nan")),
    Mistake("set odd geometry", (*SMALL, "--set", "l2.ways=17"), ("l2", "ways")),
    Mistake("set more ways than there are", (*SMALL, "--set", "l2.ways=32"), ("l2.ways", "32")),
    Mistake("set odd banks", (*SMALL, "--set", "hbm.banks=3"), ("hbm.banks", "power of two")),
    Mistake("set too few threads", (*SMALL, "--set", "sm.threads=1"), ("sm.threads",)),
    Mistake("set too little shared memory", (*SMALL, "--set", "sm.shared_memory=1 KiB"), ("sm.shared_memory",)),
    Mistake("set more than there can be", (*SMALL, "--set", "sm.count=1000000000000000"), ("sm.count",)),
    Mistake("set a cache beyond memory", (*SMALL, "--set", "l2.size=1000 TiB"), ("l2.size",)),
    # memory
    Mistake("does not fit", (*SMALL, "--batch", "100000"), ("weights 237 MiB", "KV cache", "80 GiB", "--set hbm.size")),
    # placement
    Mistake(
        "place without tier", (*SMALL, "--placement", "weights"), ("--placement", "'weights'", "dram:layers[16:32]")
    ),
    Mistake("place an unknown class", (*SMALL, "--placement", "wieghts=dram"), ("workload.placement", "'weights'")),
    Mistake("place in an unknown tier", (*SMALL, "--placement", "kv=tape"), ("workload.placement.kv", "tape", "dram")),
    Mistake(
        "place odd layers", (*SMALL, "--placement", "kv=dram:layers[a]"), ("workload.placement.kv", "layers[16:32]")
    ),
    Mistake("place no layer", (*SMALL, "--placement", "kv=dram:layers[5:5]"), ("workload.placement.kv", "no layer")),
    Mistake(
        "place layers beyond the model",
        (*SMALL, "--placement", "weights=dram:layers[6:13]"),
        ("workload.placement.weights", "12 layers", "[0:12]"),
    ),
    Mistake(
        "place twice",
        (*SMALL, "--placement", "weights=dram:layers[0:6]", "--placement", "weights=ssd:layers[5:8]"),
        ("workload.placement.weights", "layer 5", "dram", "ssd"),
    ),
    Mistake(
        "place in circles",
        (*SMALL, "--placement", "kv=dram", "--placement", "kv=hbm"),
        ("workload.placement.kv", "twice", "dram", "hbm"),
    ),
    Mistake(
        "place where there is no tier",
        (*SMALL, "--hardware", "jetson-orin-agx", "--placement", "weights=dram"),
        ("workload.placement", "Jetson", "no dram tier", "host.kind"),
    ),
    Mistake(
        "place more than the host holds",
        (*SMALL, "--placement", "weights=dram", "--set", "host.size=1 MiB"),
        ("workload.placement", "exceed its 1 MiB", "host.size"),
    ),
    Mistake(
        "place more than the drive holds",
        (*SMALL, "--placement", "weights=ssd", "--set", "ssd.size=1 MiB"),
        ("workload.placement", "exceed its 1 MiB", "ssd.size"),
    ),
    Mistake(
        "no room for the staging area",
        (*SMALL, "--placement", "weights=dram", "--set", "hbm.size=96 MiB"),
        ("gpt2", "staging of placed layers", "96 MiB", "hbm.size"),
    ),
    Mistake(
        "does not fit without a placement",
        (*SMALL, "--set", "hbm.size=220 MiB"),
        ("gpt2", "220 MiB", "--placement weights=dram:layers["),
    ),
    Mistake(
        "prefetch fewer than none",
        (*SMALL, "--placement", "kv=dram", "--prefetch-layers", "-1"),
        ("workload.placement.prefetch_layers", "-1"),
    ),
    Mistake(
        "longer than the clock of the core",
        (
            *BASE,
            "--phase",
            "generate",
            "--prompt",
            "8",
            "--tokens",
            "8",
            "--placement",
            "weights=ssd",
            "--set",
            "ssd.read_bandwidth=1 MB/s",
        ),
        ("560 s", "tokens"),
    ),
    Mistake("unknown host memory", (*SMALL, "--host-memory", "rubber"), ("rubber", "pinned")),
    Mistake(
        "set an unknown link", (*SMALL, "--set", "link.kind=pcie33"), ("link.kind", "pcie33", "did you mean 'pcie3'")
    ),
    Mistake(
        "set a key of a link that names no preset",
        ("run", *SMALL[1:], "--hardware", "jetson-orin-agx", "--set", "link.lanes=8"),
        ("jetson-orin-agx", "link.kind: missing", "pcie5"),
    ),
    Mistake("set more than a bound", (*SMALL, "--set", "hbm.size=9 TiB"), ("hbm.size", "equal to 8 TiB", "9 TiB")),
    Mistake(
        "set an ssd without host",
        ("run", *SMALL[1:], "--hardware", "jetson-orin-agx", "--set", "ssd.kind=nvme-gen4"),
        ("jetson-orin-agx", "host and link"),
    ),
    Mistake(
        "run file places nothing",
        ("run", "run.toml"),
        ("run.toml", "workload.placement.weights", "dram:layers[16:32]"),
        {"run.toml": RUN_HEAD + RUN + "[workload.placement]\nweights = 3\n"},
    ),
    Mistake(
        "run file has no placement table",
        ("run", "run.toml", "--placement", "kv=dram"),
        ("workload.placement", "[workload.placement]"),
        {"run.toml": RUN_HEAD + RUN + "placement = 3\n"},
    ),
    # config.json
    Mistake("model file missing", on_file("no/config.json"), ("no/config.json", "no such file")),
    Mistake("model folder empty", on_file("."), ("config.json",)),
    Mistake(
        "model lacks a key",
        on_file("config.json"),
        ("config.json", "n_layer", "missing"),
        with_model(model(n_layer=None)),
    ),
    Mistake("model is not JSON", on_file("config.json"), ("config.json", "line 2"), with_model('{"a": 1,\n oops}')),
    Mistake("model is a list", on_file("config.json"), ("config.json", "object"), with_model("[1, 2]")),
    Mistake("model is empty", on_file("config.json"), ("config.json", "JSON"), with_model("")),
    Mistake("model is binary", on_file("config.json"), ("config.json", "UTF-8"), {"config.json": b"\xff\xfe\x00\x80"}),
    Mistake(
        "model of no family", on_file("config.json"), ("model_type", "'mamba'"), with_model(model(model_type="mamba"))
    ),
    Mistake("model of experts", on_file("config.json"), ("num_local_experts",), with_model(model(num_local_experts=8))),
    Mistake("model size negative", on_file("config.json"), ("n_embd", "-768"), with_model(model(n_embd=-768))),
    Mistake("model size as text", on_file("config.json"), ("n_head", "twelve"), with_model(model(n_head="twelve"))),
    Mistake("model without layers", on_file("config.json"), ("n_layer", "0"), with_model(model(n_layer=0))),
    # hardware files
    Mistake("folder for a device", (*SMALL, "--hardware", "/tmp"), ("/tmp", "a folder, where a file is expected")),
    Mistake("memory too slow", (*SMALL, "--set", "hbm.data_rate=1 bit/s"), ("hbm.data_rate", "1 Mbit/s", "1 bit/s")),
    Mistake("device file missing", (*SMALL, "--hardware", "no/gpu.toml"), ("no/gpu.toml", "no such file")),
    Mistake(
        "device not TOML",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "line 2"),
        {"gpu.toml": "name = 'x'\nsm = = 3\n"},
    ),
    Mistake(
        "device lacks a key",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "l1.ways", "missing"),
        {"gpu.toml": device("\nways = ", "\n# ")},
    ),
    Mistake(
        "device has another key",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "l1.way:", "'ways'"),
        {"gpu.toml": device("\nways = ", "\nway = 3\nways = ")},
    ),
    Mistake(
        "device without unit",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "l2.size", "unit"),
        {"gpu.toml": device('"40 MiB"', '"40"')},
    ),
    Mistake(
        "device of no standard",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "hbm.standard", "hbm9"),
        {"gpu.toml": device('"hbm2e"', '"hbm9"')},
    ),
    Mistake(
        "device without a name",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "name", "words that can be printed"),
        {"gpu.toml": 'base = "l40s"\nname = ""\n'},
    ),
    Mistake(
        "device whose name steers the terminal",
        (*SMALL, "--hardware", "gpu.toml"),
        ("gpu.toml", "name", "words that can be printed"),
        {"gpu.toml": 'base = "l40s"\nname = "\\u001b[31mred"\n'},
    ),
    # RUN.toml
    Mistake("run file missing", ("run", "no.toml"), ("no.toml", "No such file")),
    Mistake("run file is a folder", ("run", ".", *SMALL[1:]), (".", "directory")),
    Mistake(
        "run file not TOML", ("run", "run.toml"), ("run.toml", "line 2"), {"run.toml": 'model = "gpt2"\nhardware = \n'}
    ),
    Mistake(
        "run file has another key",
        ("run", "run.toml"),
        ("run.toml", "modell", "'model'"),
        {"run.toml": 'modell = "x"\n' + RUN_HEAD + RUN},
    ),
    Mistake(
        "run file has another workload key",
        ("run", "run.toml"),
        ("run.toml", "workload.batches", "'batch'"),
        {"run.toml": RUN_HEAD + RUN + "batches = 3\n"},
    ),
    Mistake(
        "run file has text for a number",
        ("run", "run.toml"),
        ("run.toml", "workload.batch", "three"),
        {"run.toml": RUN_HEAD + RUN + 'batch = "three"\n'},
    ),
    Mistake(
        "run file has no table",
        ("run", "run.toml"),
        ("run.toml", "workload"),
        {"run.toml": RUN_HEAD + "workload = 3\n"},
    ),
    Mistake(
        "run file sets no table", ("run", "run.toml"), ("run.toml", "set"), {"run.toml": RUN_HEAD + "set = 3\n" + RUN}
    ),
    Mistake(
        "run file sets no key",
        ("run", "run.toml"),
        ("l2.sise",),
        {"run.toml": RUN_HEAD + '[set]\n"l2.sise" = "1 MiB"\n' + RUN},
    ),
    Mistake(
        "run file of another protocol",
        ("run", "run.toml"),
        ("run.toml", "protocol.launch", "rocket"),
        {"run.toml": RUN_HEAD + RUN + '[protocol]\nlaunch = "rocket"\n'},
    ),
    # traces
    Mistake("trace missing", ("replay", "no.parquet", *ON_H100), ("no.parquet", "no such file")),
    Mistake("trace is a folder", ("replay", ".", *ON_H100), (".", "not a file")),
    Mistake("trace empty", ("replay", "t.parquet", *ON_H100), ("t.parquet",), {"t.parquet": b""}),
    Mistake("trace is text", ("replay", "t.parquet", *ON_H100), ("t.parquet", "not a Parquet"), {"t.parquet": CASE}),
    Mistake(
        "trace truncated", ("replay", "t.parquet", *ON_H100), ("t.parquet", "truncated"), {"t.parquet": TRACE[:-100]}
    ),
    Mistake("trace damaged", ("replay", "t.parquet", *ON_H100), ("t.parquet", "damaged"), {"t.parquet": damaged()}),
    Mistake(
        "trace of no addresses",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'address'", "missing"),
        {"t.parquet": parquet(rows=[1])},
    ),
    Mistake(
        "trace with a column of ours misspelt",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'adress'"),
        {"t.parquet": parquet(address=[1], adress=[1])},
    ),
    Mistake(
        "trace with no rows",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "no records"),
        {"t.parquet": parquet(address=np.zeros(0, np.int64))},
    ),
    Mistake(
        "trace address negative",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'address'", "row 1", "-32"),
        {"t.parquet": parquet(address=[0, -32])},
    ),
    Mistake(
        "trace address null",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'address'", "row 1", "null"),
        {"t.parquet": parquet(address=[0, None])},
    ),
    Mistake(
        "trace op unknown",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'op'", "fetch"),
        {"t.parquet": parquet(address=[0], op=["fetch"])},
    ),
    Mistake(
        "trace kernels descend",
        ("replay", "t.parquet", *ON_H100),
        ("t.parquet", "'kernel'", "row 1"),
        {"t.parquet": parquet(address=[0, 1], kernel=[1, 0])},
    ),
    Mistake("info of a missing trace", ("trace", "info", "no.parquet"), ("no.parquet", "no such file")),
    Mistake(
        "info of a truncated trace",
        ("trace", "info", "t.parquet"),
        ("t.parquet", "truncated"),
        {"t.parquet": TRACE[:-100]},
    ),
    Mistake(
        "info of a bad row",
        ("trace", "info", "t.parquet"),
        ("t.parquet", "'address'", "row 1"),
        {"t.parquet": parquet(address=[0, -1])},
    ),
    # cases
    Mistake("cases missing", ("predict", "no.csv", *ON_H100), ("no.csv", "No such file")),
    Mistake("cases empty", ("predict", "c.csv", *ON_H100), ("c.csv", "line 1", "header"), {"c.csv": ""}),
    Mistake(
        "cases without header",
        ("predict", "c.csv", *ON_H100),
        ("c.csv", "line 1", "header"),
        {"c.csv": "gemm,1,64,64\n"},
    ),
    Mistake(
        "cases with another column",
        ("predict", "c.csv", *ON_H100),
        ("c.csv", "line 1", "'kk'"),
        {"c.csv": "kernel,m,n,kk\ngemm,1,64,64\n"},
    ),
    Mistake(
        "cases with a column twice",
        ("predict", "c.csv", *ON_H100),
        ("c.csv", "line 1", "'m'", "twice"),
        {"c.csv": "kernel,m,n,k,m\ngemm,1,64,64,1\n"},
    ),
    Mistake("cases are binary", ("predict", "c.csv", *ON_H100), ("c.csv", "UTF-8"), {"c.csv": TRACE}),
    # places to write to
    Mistake("output folder missing", (*SMALL, "--output", "no/r.json"), ("no/r.json", "does not exist")),
    Mistake("output is a folder", (*SMALL, "--output", "."), ("'.'", "directory")),
    Mistake("output below a file", (*SMALL, "--output", "a/r.json"), ("a/r.json", "not a directory"), {"a": "x"}),
    Mistake("report folder missing", (*SMALL, "--report", "no/r.html"), ("no/r.html", "does not exist")),
    Mistake("one file for two outputs", (*SMALL, "--output", "r.json", "--report", "./r.json"), ("two outputs",)),
    Mistake("report is a folder", (*SMALL, "--output", "r.json", "--report", "."), ("'.'", "directory")),
    Mistake(
        "trace folder missing",
        ("trace", "generate", *SMALL[1:], "--output", "no/t.parquet"),
        ("no/t.parquet", "does not exist"),
    ),
    Mistake("trace output is a folder", ("trace", "generate", *SMALL[1:], "--output", "."), ("'.'", "directory")),
    Mistake(
        "predictions folder missing",
        ("predict", "c.csv", *ON_H100, "--output", "no/o.csv"),
        ("no/o.csv", "does not exist"),
        {"c.csv": CASE},
    ),
    Mistake(
        "replay output folder missing",
        ("replay", "t.parquet", *ON_H100, "--output", "no/o"),
        ("no/o", "does not exist"),
        {"t.parquet": TRACE},
    ),
]


def listing(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder, hidden files too, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def assert_refused(finished: Any, *named: str) -> None:
    """Check code, output and the one line of a refusal."""
    assert finished.code == 2, finished.err
    assert finished.out == ""
    assert "Traceback" not in finished.err
    lines = finished.err.splitlines()
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("tierscope: ")
    for word in named:
        assert word in lines[0]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name.replace(" ", "-") for mistake in MISTAKES])
def test_is_refused_in_one_line(tierscope: Command, tmp_path: Path, mistake: Mistake) -> None:
    for name, content in mistake.files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    before = listing(tmp_path)
    assert_refused(tierscope(*mistake.arguments), *mistake.named)
    assert listing(tmp_path) == before


def test_names_of_mistakes_are_told_apart() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


def test_a_larger_memory_lifts_the_refusal(tierscope: Command) -> None:
    options = (*BASE, "--phase", "decode", "--context", "64", "--set", "hbm.size=256 MiB", "--batch", "32")
    assert_refused(tierscope(*options), "weights 237 MiB", "KV cache 72 MiB", "256 MiB of NVIDIA A100")
    assert tierscope(*options, "--set", "hbm.size=1 GiB").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("option", ["--output", "--report"])
def test_a_folder_that_may_not_be_written_to(tierscope: Command, tmp_path: Path, option: str) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert_refused(tierscope(*SMALL, option, "locked/r"), "locked/r", "permission")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/sys and /dev/full are Linux")
@pytest.mark.parametrize("option", ["--output", "--report"])
@pytest.mark.parametrize(("place", "why"), [("/sys/tierscope", "permission"), ("/dev/full", "No space left")])
def test_a_place_that_takes_nothing(tierscope: Command, tmp_path: Path, option: str, place: str, why: str) -> None:
    assert_refused(tierscope(*SMALL, option, place), place, why)
    assert listing(tmp_path) == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux")
def test_a_standard_output_that_takes_nothing(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        assert_refused(start(tmp_path, "list", "models", stdout=full), "No space left")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file descriptors are closed by a shell")
@pytest.mark.parametrize(("closed", "name", "code"), [(">&-", "hardware", 0), ("2>&-", "nothing", 2)])
def test_a_closed_stream_is_no_error_of_its_own(tmp_path: Path, closed: str, name: str, code: int) -> None:
    line = f'"{sys.executable}" -m simulator list {name} {closed}'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_failed_run_leaves_the_old_file(tierscope: Command, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("before")
    assert_refused(tierscope(*SMALL, "--batch", "100000", "--output", "result.json"), "exceed")
    assert listing(tmp_path) == {"result.json": b"before"}


def test_a_trace_that_breaks_half_way_leaves_no_result(tierscope: Command, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(damaged())
    before = listing(tmp_path)
    options = ("--hardware", "h100-sxm", "--output", "r.json", "--report", "r.html")
    assert_refused(tierscope("replay", "t.parquet", *options), "t.parquet")
    assert listing(tmp_path) == before


def test_a_message_has_one_line_whatever_the_name(tierscope: Command) -> None:
    assert_refused(tierscope(*on_file("a\nb")), "unknown model")
