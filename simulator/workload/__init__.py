"""Workloads, and the operators a model runs for them."""

from simulator.workload.operator_graph import OperatorGraph
from simulator.workload.operators import (
    AttentionShape,
    ElementwiseShape,
    GemmShape,
    Operator,
    OperatorKind,
    Tensor,
    TensorClass,
    TensorRef,
)
from simulator.workload.placement import Placement, Tier
from simulator.workload.residency import Movement, Unit, check_capacity, units
from simulator.workload.spec import Phase, Workload
from simulator.workload.transformer import Footprint, build, footprint, tensors

__all__ = [
    "AttentionShape",
    "ElementwiseShape",
    "Footprint",
    "GemmShape",
    "Movement",
    "Operator",
    "OperatorGraph",
    "OperatorKind",
    "Phase",
    "Placement",
    "Tensor",
    "TensorClass",
    "TensorRef",
    "Tier",
    "Unit",
    "Workload",
    "build",
    "check_capacity",
    "footprint",
    "tensors",
    "units",
]
