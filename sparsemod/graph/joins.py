"""Tensors that take the range of a concatenation; quantization and the costs before training share these rules."""

from sparsemod.graph.operators import Graph, Operator


def range_taker(graph: Graph, join: Operator, name: str) -> Operator | None:
    """Return the operator whose result takes the range of `join`'s output, so that `join` can copy its input `name`; else None.

    Needs: the path from that operator to `join` has no other readers, and operators on it only clamp, select or move values.
    """
    users, producers, reader = graph.users(), graph.producers(), join
    while users[name] == [reader] and name in producers:
        reader = producers[name]
        if not reader.traits.clamps_early:
            return reader
        name = reader.inputs[0]
    return None


def copied(graph: Graph, join: Operator, name: str) -> bool:
    """Whether quantization gives input `name` of `join` the output's scale, so that `join` copies its bytes."""
    taker = range_taker(graph, join, name)
    return taker is not None and not taker.traits.keeps_scale
