"""Networks whose last layer does not change which output is the largest."""

from dataclasses import replace

from sparsemod.graph.functions import X
from sparsemod.graph.operators import Graph, Operator

_RISING = ("sigmoid", "tanh", "log_sigmoid")


def without_ending(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph without its last layers that keep the order of the outputs, and the names of these layers.

    For classifiers, of whose outputs only the largest counts: softmax and log-softmax over the classes, and sigmoid, tanh and
    log-sigmoid, each also before another one. Other outputs need these layers, and so does a network with several outputs.
    """
    if graph.other_outputs:
        return graph, ()
    dropped: list[str] = []
    while (
        graph.operators and _keeps_order(graph, last := graph.operators[-1]) and last.output == graph.output
    ):
        source = last.inputs[0]
        if graph.shapes[source] != graph.shapes[graph.output]:
            break
        dropped.append(last.name)
        rest = graph.operators[:-1]
        names = {*graph.inputs, *(operator.output for operator in rest)}
        graph = replace(
            graph, output=source, operators=rest,
            shapes={name: shape for name, shape in graph.shapes.items() if name in names},
            layouts={name: layout for name, layout in graph.layouts.items() if name in names},
        )  # fmt: skip
    return graph, tuple(dropped)


def _keeps_order(graph: Graph, operator: Operator) -> bool:
    if operator.kind in ("softmax", "log_softmax"):
        return int(operator.attributes["axis"]) == 0
    if operator.kind != "table" or graph.shapes[operator.output][0] < 2:
        return False
    return operator.attributes["function"] in tuple((name, X) for name in _RISING)
