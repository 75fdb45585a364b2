"""Multiply-adds of one sample, of kinds with weights and of products of matrices; taps on padding are included."""

from collections.abc import Callable

from sparsemod.graph.operators import Graph, Operator
from sparsemod.kinds import Stage

MACS: Stage[Callable[[Graph, Operator], int]] = Stage(
    "the count of multiply-adds", builtin=("sparsemod.graph.rules @MACS",)
)
"""Rules for the multiply-adds of operators, by kind; kinds with weights need one."""


def operator_macs(graph: Graph, operator: Operator) -> int:
    """Return the multiply-adds of one operator; 0 for kinds without weights and rule. Raises Unsupported for weights without a rule."""
    if not operator.traits.weighted and not MACS.has(operator.kind):
        return 0
    return MACS.rule(operator.kind, operator.name)(graph, operator)


def macs(graph: Graph) -> int:
    """Return the multiply-adds of the whole network."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)
