"""Convert a deployed graph's operators to nodes of the memory planner and the C kernels."""

from collections.abc import Sequence

from sparsemod.arena import Fused, Layout, Node, layout
from sparsemod.graph import Graph, Operator


def node(operator: Operator) -> Node:
    """Convert one operator to a node."""
    return Node(
        operator.name,
        operator.traits.layer,
        operator.inputs,
        operator.output,
        operator.window,
        operator.attributes,
    )


def graph_layout(graph: Graph, core: str = "", fused: Sequence[Fused] = ()) -> Layout:
    """Return the memory layout that the generated C uses for a deployed graph, with the kernels for `core` ("": for any core) and the
    layers `fused` that run together."""
    return layout(
        [node(operator) for operator in graph.operators],
        graph.tensors,
        graph.inputs,
        tuple(graph.outputs.values()),
        core,
        fused,
    )
