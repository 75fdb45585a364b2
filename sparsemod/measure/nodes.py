"""A deployed graph's operators as the memory planner and the C kernels see them."""

from sparsemod.arena import Layout, Node, layout
from sparsemod.graph import Graph, Operator

_KINDS = {"relu": "clamp", "relu6": "clamp"}


def node(operator: Operator) -> Node:
    """One operator."""
    a = operator.attributes
    padding = tuple(a.get("padding", (0, 0, 0, 0)))
    return Node(
        operator.name,
        _KINDS.get(operator.kind, operator.kind),
        operator.inputs,
        operator.output,
        kernel=tuple(a.get("kernel", (1, 1))),
        stride=tuple(a.get("stride", (1, 1))),
        padding=(padding[0], padding[1], padding[2], padding[3]),
        groups=int(a.get("groups", 1)),
    )


def graph_layout(graph: Graph) -> Layout:
    """The memory that generated C needs of a deployed graph."""
    return layout([node(operator) for operator in graph.operators], graph.shapes, graph.input, graph.output)
