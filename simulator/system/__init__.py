"""Kernels and copies in time: the SimPy side of the model."""

from simulator.system.copy_engine import CopyRun
from simulator.system.sampling import Samples
from simulator.system.stream import KernelRun, StandIn, Streamed, run_stream

__all__ = ["CopyRun", "KernelRun", "Samples", "StandIn", "Streamed", "run_stream"]
