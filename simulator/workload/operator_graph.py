"""The operators of one pass and what each waits for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from simulator.workload.operators import Operator


@dataclass(frozen=True)
class OperatorGraph:
    """The operators of one pass, in an order that respects every dependency."""

    operators: tuple[Operator, ...]

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The dependency graph: nodes are operator names with attribute `operator`, edges carry the `tensor` behind
        them; a reader follows its writer, a writer follows the readers and the writer of what it overwrites."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        writer: dict[str, str] = {}
        readers: dict[str, list[str]] = {}
        for operator in self.operators:
            name = operator.name
            graph.add_node(name, operator=operator)
            for tensor in operator.inputs:
                if tensor.name in writer:
                    graph.add_edge(writer[tensor.name], name, tensor=tensor.name)
                readers.setdefault(tensor.name, []).append(name)
            for tensor in operator.outputs:
                before = readers.pop(tensor.name, [])
                if tensor.name in writer:
                    before.append(writer[tensor.name])
                graph.add_edges_from(((other, name) for other in before if other != name), tensor=tensor.name)
                writer[tensor.name] = name
        return graph

    @property
    def flops(self) -> int:
        """Matrix FLOPs of the pass."""
        return sum(operator.flops for operator in self.operators)

    @property
    def vector_flops(self) -> int:
        """All other FLOPs of the pass."""
        return sum(operator.vector_flops for operator in self.operators)
