"""Multiply-adds of one sample: those of convolutions and linear layers, taps on padding counted. Nothing else counts."""

import math

from sparsemod.graph import Graph, Operator


def operator_macs(graph: Graph, operator: Operator) -> int:
    """Multiply-adds of one operator; 0 for kinds without weights."""
    if operator.weight is None or operator.kind not in ("conv", "linear"):
        return 0
    weight = graph.state[operator.weight]
    # Every output element of a channel costs that channel's whole filter, which knows of its groups already.
    positions = math.prod(graph.shapes[operator.output][1:])
    return weight.numel() * positions


def macs(graph: Graph) -> int:
    """Multiply-adds of the whole network."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)


def is_depthwise(graph: Graph, operator: Operator) -> bool:
    """Whether an operator is a convolution in which each output channel reads one input channel of its own group."""
    if operator.kind != "conv" or operator.weight is None:
        return False
    return bool(operator.attributes["groups"] > 1 and graph.state[operator.weight].shape[1] == 1)
