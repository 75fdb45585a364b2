"""Which tensors take the range of a concatenation: quantization gives it to them, and costs before training know it."""

from sparsemod.graph.operators import Graph, Operator


def range_taker(graph: Graph, join: Operator, name: str) -> Operator | None:
    """The operator whose result takes the range of `join`'s output, so that its input `name` can be copied; None where that cannot be.

    Needs: nothing else reads what leads from that operator to `join`, and on the way values are only clamped, chosen or moved.
    """
    users, producers, reader = graph.users(), graph.producers(), join
    while users[name] == [reader] and name in producers:
        reader = producers[name]
        if not reader.traits.clamps_early:
            return reader
        name = reader.inputs[0]
    return None


def copied(graph: Graph, join: Operator, name: str) -> bool:
    """Whether quantization gives input `name` of `join` the output's scale, so that its bytes are copied."""
    taker = range_taker(graph, join, name)
    return taker is not None and not taker.traits.keeps_scale
