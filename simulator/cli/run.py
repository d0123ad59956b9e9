"""tierscope run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.explain import explain_option, run_prepared
from simulator.cli.locality import locality_of
from simulator.cli.options import Outputs, hardware_options, processes, replay_options, result_options
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.run.request import RunRequest

DTYPES = click.Choice(["fp32", "bf16", "fp16", "fp8"])


def workload_options(function: Any) -> Any:
    """Add the options that describe model, workload and protocol."""
    options = [
        click.option("--model", metavar="NAME", help="A shipped model (tierscope list models) or an HF config.json."),
        click.option("--phase", type=click.Choice(["prefill", "decode", "generate"]), help="What to run."),
        click.option("--batch", type=int, help="Sequences run together.  [default: 1]"),
        click.option("--context", type=int, help="decode: tokens attended over, the new one included."),
        click.option("--prompt", type=int, help="prefill and generate: prompt tokens per sequence."),
        click.option("--tokens", type=int, help="generate: tokens to generate per sequence."),
        click.option("--dtype", type=DTYPES, help="Type of weights, activations and KV cache.  [default: bf16]"),
        click.option("--weight-dtype", type=DTYPES, help="Type of the weights alone."),
        click.option("--activation-dtype", type=DTYPES, help="Type of the activations alone."),
        click.option("--kv-dtype", type=DTYPES, help="Type of the KV cache alone."),
        click.option("--page-tokens", type=int, help="Tokens per KV page; 0: contiguous.  [default: 16]"),
        click.option(
            "--placement",
            "placement",
            multiple=True,
            metavar="CLASS=TIER[:layers[A:B]]",
            help="Where weights, kv, embeddings or activations rest: hbm, dram (host) or ssd, such as "
            "weights=dram:layers[16:32]. May be given again.",
        ),
        click.option("--prefetch-layers", type=int, help="Layers copied in ahead of use.  [default: 1]"),
        click.option(
            "--host-memory", type=click.Choice(["pinned", "pageable"]), help="Kind of host memory.  [default: pinned]"
        ),
        click.option("--launch", type=click.Choice(["graph", "stream"]), help="How kernels start.  [default: graph]"),
        click.option("--cache", type=click.Choice(["warm", "cold"]), help="L2 at the start.  [default: warm]"),
        click.option("--seed", type=int, help="Seed of what the workload leaves open.  [default: 0]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("run_file", required=False, metavar="[RUN.toml]")
@workload_options
@hardware_options
@replay_options
@explain_option
@result_options
def run(run_file: str | None, exact: bool | None, ask: bool, jobs: int | None, explain: bool, **options: Any) -> None:
    """Simulate a model's inference on a device.

    Everything may be given as options, or as a RUN.toml whose values options override.
    """
    outputs = Outputs.taken_from(options)
    request = build_request(run_file, options | {"exact": exact})
    outputs.check()
    from simulator.run.execute import prepare

    prepared = prepare(request)
    result, outcome = run_prepared(prepared, explain, processes(jobs) if ask else 0, outputs.timeline is not None)
    outputs.emit(result, lambda: locality_of(prepared))
    outputs.emit_timeline(result, outcome)


def build_request(run_file: str | None, options: dict[str, Any]) -> RunRequest:
    """Return the request of a run file with options laid over it; raises ConfigError."""
    from simulator.run.request import RunRequest, read_request

    tree: dict[str, Any] = read_request(Path(run_file)) if run_file else {}
    given = {key: value for key, value in options.items() if value is not None}
    workload = tree.setdefault("workload", {})
    protocol = tree.setdefault("protocol", {})
    if "dtype" in given:
        workload.update(dict.fromkeys(("weight_dtype", "activation_dtype", "kv_dtype"), given.pop("dtype")))
    for key in ("phase", "batch", "context", "prompt", "tokens", "weight_dtype", "activation_dtype", "kv_dtype"):
        if key in given:
            workload[key] = given.pop(key)
    pages = given.pop("page_tokens", None)
    if pages == 0:
        workload.pop("page_tokens", None)
    elif pages is not None or not run_file:
        workload["page_tokens"] = 16 if pages is None else pages
    _place(workload, given)
    for key in ("launch", "cache"):
        if key in given:
            protocol[key] = given.pop(key)
    given["overrides"] = [*tree.pop("overrides", []), *given.pop("overrides", ())]
    tree.update(given)
    for key in ("model", "hardware"):
        if key not in tree:
            raise ConfigError(f"no {key} given; add --{key} NAME (tierscope list {_LISTED[key]})")
    if "phase" not in workload:
        raise ConfigError("no phase given; add --phase prefill, decode or generate")
    return RunRequest.of(tree, run_file or "command line")


def _place(workload: dict[str, Any], given: dict[str, Any]) -> None:
    """Move the placement options into the workload; rules given for a class replace those of the run file."""
    rules: dict[str, list[str]] = {}
    for text in given.pop("placement", ()):
        name, equals, rule = text.partition("=")
        if not equals or not name.strip() or not rule.strip():
            raise ConfigError(f"--placement {text!r}: write CLASS=TIER, such as weights=dram:layers[16:32]")
        rules.setdefault(name.strip(), []).append(rule.strip())
    settings = {key: given.pop(key) for key in ("prefetch_layers", "host_memory") if key in given}
    if rules or settings:
        before = workload.get("placement", {})
        if not isinstance(before, dict):
            raise ConfigError("workload.placement: write a table [workload.placement]")
        workload["placement"] = before | rules | settings


_LISTED = {"model": "models", "hardware": "hardware"}
