"""What all tests share: the core is compiled once, before pytest-xdist starts workers.

numba's cache on disk is not safe under concurrent writers, so that workers may only ever read it.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Compile the core in the controller (or the only process) of a test run."""
    if hasattr(config, "workerinput") or os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return
    _compile_analysis()
    _compile_dram_patterns()
    from bare_kernel import BARE

    from simulator import hardware
    from simulator.core.compiled import is_compiled
    from simulator.memory import Device
    from simulator.memory.copies import HostCopies, Path
    from simulator.trace.record import COLUMNS, Records, TracedKernel

    if all(map(is_compiled, ("replay.advance", "lanes.write_lanes", "dma.advance_copies", "transfer.post_transfer"))):
        return
    columns = {name: np.zeros(2, kind) for name, kind in COLUMNS.items()}
    columns["rows"][:], columns["row_bytes"][:], columns["joined"][1] = 1, 32, True
    header = replace(BARE, records=2, read_bytes=64)
    spec = hardware.load("h100-sxm").spec
    device = Device(spec)
    device.launch(TracedKernel(header, (Records(**columns),)))
    device.advance(0)
    device.post_transfer(1, True, 0)
    copies = HostCopies(spec)
    copies.start(Path.FROM_DRAM, 1, 0)
    copies.advance(copies.next_ps)


def _compile_dram_patterns() -> None:
    """Compile what runs DRAM alone."""
    from simulator import hardware
    from simulator.core.compiled import is_compiled
    from simulator.memory.dram_pattern import DramBench, dram_pattern

    if all(is_compiled(f"dram_pattern.{name}") for name in ("offer", "answer", "find_places")):
        return
    device, address = hardware.load("h100-sxm").spec, np.zeros(1, np.int64)
    bench = DramBench(device)
    bench.places(address)
    bench.serve(address, 32, 0)
    dram_pattern(device, address, 32)


def _compile_analysis() -> None:
    """Compile what the analysis of locality takes."""
    from simulator import hardware
    from simulator.analysis import locality, order, reuse
    from simulator.analysis.hits import HitExplainer
    from simulator.core.access_log import L1_ACCESS, L2_ACCESS
    from simulator.core.compiled import is_compiled
    from simulator.memory import Device
    from simulator.trace.record import KernelHeader, Records, TracedKernel, TraceHeader

    functions = (
        "interleave.interleave",
        "spatial.count_spatial",
        "reuse_count.count_visits",
        "reuse_count.count_last",
        "reuse_singles.count_singles",
    )
    reasons = ("l1_reasons.empty_l1s", "l2_reasons.count_l2_lines_left")
    if all(map(is_compiled, (*functions, "reuse_room.move_pages", "sample.sample", *reasons))):
        return
    records = Records.of(2, address=np.array([0, 1 << 14]), requester=np.zeros(2))
    header = KernelHeader("compile", "", -1, 0, 1, 32, 0, 0, 1, 0, 2, 64, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "MAX_VISITS", 0)  # so that half the pages are dropped
        kernels = [TracedKernel(header, (records,))] * 2  # of the second only a sample is taken
        locality.locality(TraceHeader(), kernels, order.Order())
    explainer = HitExplainer(TraceHeader())
    device = Device(hardware.load("h100-sxm").spec, observer=explainer)
    explainer.launched(0, header)
    explainer.logged(np.array([[65, L2_ACCESS], [65, L1_ACCESS]]))
    explainer.finish()
    assert not device.busy
