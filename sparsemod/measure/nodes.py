"""A deployed graph's operators as the memory planner and the C kernels see them."""

from sparsemod.arena import Layout, Node, layout
from sparsemod.graph import Graph, Operator


def node(operator: Operator) -> Node:
    """One operator."""
    return Node(operator.name, operator.traits.layer, operator.inputs, operator.output, operator.window)


def graph_layout(graph: Graph) -> Layout:
    """The memory that generated C needs of a deployed graph."""
    return layout([node(operator) for operator in graph.operators], graph.tensors, graph.input, graph.output)
