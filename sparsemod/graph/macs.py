"""Multiply-adds of one sample. Only kinds with weights count; taps on padding are included."""

from collections.abc import Callable

from sparsemod.graph.operators import Graph, Operator
from sparsemod.kinds import Stage

MACS: Stage[Callable[[Graph, Operator], int]] = Stage(
    "the count of multiply-adds", builtin=("sparsemod.graph.rules @MACS",)
)
"""Rules for the multiply-adds of operators with weights, by kind."""


def operator_macs(graph: Graph, operator: Operator) -> int:
    """Return the multiply-adds of one operator; 0 for kinds without weights. Raises Unsupported for a kind with weights and no rule."""
    return MACS.rule(operator.kind, operator.name)(graph, operator) if operator.traits.weighted else 0


def macs(graph: Graph) -> int:
    """Return the multiply-adds of the whole network."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)
