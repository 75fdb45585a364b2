"""Multiply-adds of one sample: those of kinds with weights, taps on padding counted. Nothing else counts."""

from collections.abc import Callable

from sparsemod.graph.operators import Graph, Operator
from sparsemod.kinds import Stage

MACS: Stage[Callable[[Graph, Operator], int]] = Stage(
    "the count of multiply-adds", builtin=("sparsemod.graph.rules.weighted",)
)
"""Multiply-adds of an operator with weights, by its kind."""


def operator_macs(graph: Graph, operator: Operator) -> int:
    """Multiply-adds of one operator; 0 for kinds without weights. Raises Unsupported for a kind with weights and no rule."""
    return MACS.rule(operator.kind, operator.name)(graph, operator) if operator.traits.weighted else 0


def macs(graph: Graph) -> int:
    """Multiply-adds of the whole network."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)
