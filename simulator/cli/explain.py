"""Running a prepared run for the commands that do so, and looking into its caches where that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from simulator.run.execute import Prepared
    from simulator.run.result import Json

explain_option = click.option(
    "--explain", is_flag=True, help="Also say why accesses missed L2 and who evicted what; replays every layer."
)


def run_prepared(prepared: Prepared, explain: bool) -> Json:
    """Return the result of a run, with why accesses hit and missed if `explain`."""
    from simulator.cli.progress import announce_compilation, kernel_progress
    from simulator.run.execute import execute

    announce_compilation()
    if not explain:
        with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
            return execute(prepared, progress)
    from simulator.analysis.hits import HitExplainer
    from simulator.analysis.hits_result import hits_result

    announce_compilation("three_cs.explain", "the analysis of hits", "some seconds")
    explainer = HitExplainer(prepared.trace.header)
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        result = execute(prepared, progress, explainer)
    return result | {"hits": hits_result(explainer.finish())}
