"""Running a prepared run for the commands that do so, and looking into its caches where that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from simulator.run.execute import Prepared
    from simulator.run.result import Json
    from simulator.run.simulate import Outcome

explain_option = click.option(
    "--explain", is_flag=True, help="Also say why accesses missed L1 and L2 and who evicted what; replays every layer."
)


def run_prepared(prepared: Prepared, explain: bool, workers: int, sampled: bool) -> tuple[Json, Outcome]:
    """Return the result of a run and what it came to: with why accesses hit and missed if `explain`, with what each
    resource is worth, as found by so many `workers`, unless there are none, with samples over time if `sampled`."""
    from simulator.cli.progress import announce_compilation, kernel_progress
    from simulator.run.execute import replayed, result_of
    from simulator.system import Samples

    announce_compilation()
    explainer = None
    if explain:
        from simulator.analysis.hits import HitExplainer

        announce_compilation("l2_reasons.explain_l2", "the analysis of hits", "some seconds")
        explainer = HitExplainer(prepared.trace.header)
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        outcome = replayed(prepared, progress, explainer, Samples() if sampled else None)
    result = result_of(prepared, outcome)
    if explainer is not None:
        from simulator.analysis.hits_below import with_tiers_below
        from simulator.analysis.hits_result import hits_result

        replays = [kernel.header for kernel in outcome.kernels]
        hits = with_tiers_below(explainer.finish(), prepared.hardware.spec, prepared.trace.streaming, replays)
        result |= {"hits": hits_result(hits)}
    if workers:
        result |= {"what_if": answer(prepared, result, workers)}
    return result, outcome


def answer(prepared: Prepared, result: Json, workers: int) -> Json:
    """Return what each resource is worth to a run, showing how many replays have been made."""
    from simulator.cli.progress import row_progress
    from simulator.run.what_if import replays, what_if

    with row_progress("what if", replays(prepared)) as advance:
        return what_if(prepared, result["summary"]["time_s"], advance, workers)
