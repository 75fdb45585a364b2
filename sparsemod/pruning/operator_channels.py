"""Channels of functions, pairs, copies and normalizations."""

import math

import torch

from sparsemod.graph import Graph, Operator
from sparsemod.graph.functions import evaluate
from sparsemod.pruning.channels import CHANNELS, Labeller, Labels, Move

_COPIED = "its channels are copied to other places"


@CHANNELS.rules("interpolate", "l2_normalize")
def _passed_on(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    return inputs[0]


@CHANNELS.register("table")
def _table(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Freeze channels whose zeros become other values, unless only products with the same channels, which are zeros, read them."""
    at_zero = float(evaluate(operator.attributes["function"], torch.zeros(1))[0])
    if at_zero != 0 and not _absorbed(labeller, operator.output):
        labeller.frozen.append((inputs[0], "its function of zero is not zero"))
    return inputs[0]


def _absorbed(labeller: Labeller, tensor: str) -> bool:
    """Return whether every value of a tensor, perhaps after functions of one value, becomes a factor of a product."""
    readers = labeller.graph.users()[tensor]
    return bool(readers) and all(
        reader.traits.absorbs_zero or (_of_one_value(reader) and _absorbed(labeller, reader.output))
        for reader in readers
    )


def _of_one_value(operator: Operator) -> bool:
    return operator.kind == "table" or operator.attributes.get("uniform") is not None


@CHANNELS.register("softmax")
def _softmax(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    labeller.frozen.append((inputs[0], "softmax reads all of its channels"))
    return inputs[0]


@CHANNELS.rules("prelu", "affine")
def _per_channel(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Constants of each channel go with their channel. Numbers in the code hold for any channels, if zeros stay zeros."""
    uniform = operator.attributes.get("uniform")
    if uniform is None:
        for key in operator.keys:
            labeller.row(key, inputs[0])
            labeller.freeze_computed(key, inputs[0])
    elif uniform[1] != 0 and not _absorbed(labeller, operator.output):
        labeller.frozen.append((inputs[0], "a number is added to it"))
    return inputs[0]


@CHANNELS.rules("sum", "subtract", "multiply", "maximum", "minimum")
def _pair(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Merge the labels of equal channels; a single channel that is repeated stays apart and is never removed."""
    first, second = inputs
    if len(first) == len(second):
        labeller.merge(first, second)
        return first
    single, wide = sorted(inputs, key=len)
    labeller.frozen.append((single, "it is repeated for every channel"))
    return wide


@CHANNELS.register("take")
def _take(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    channel = labeller.graph.layout(operator.output).channel
    return _copied(labeller, operator, inputs) if operator.attributes["places"][channel] else inputs[0]


@CHANNELS.register("move")
def _moved(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Pass on the channels of one step, and those of a shuffle behind a convolution with as many groups."""
    labels, move = inputs[0], _known(labeller.graph, operator)
    if move is None:
        return _copied(labeller, operator, inputs)
    labeller.moves[operator.name] = move
    if not move.groups:
        return labels
    labeller.tie(labels, move.groups)
    return labels.reshape(move.groups, -1).T.reshape(-1)


def _known(graph: Graph, operator: Operator) -> Move | None:
    """Return what a copy does; None for one whose sizes may be written into the network."""
    source, shape = operator.inputs[0], graph.shapes[operator.inputs[0]]
    channels, channel = graph.image(source)[0], graph.layout(source).channel
    found = {name: operator.attributes[name] for name in ("sizes", "strides", "offset")}
    step, rest = divmod(int(found["offset"]), channels)
    made = graph.shapes[operator.output]
    if channel == len(shape) - 1 and made == (channels,) and not rest:
        return Move(0, step=step) if found == Move(0, step=step).attributes(channels) else None
    groups = _groups_before(graph, source)
    if channel or groups < 2 or channels % groups or made != shape:
        return None
    shuffle = Move(groups, math.prod(shape[1:]))
    return shuffle if found == shuffle.attributes(channels) else None


def _groups_before(graph: Graph, tensor: str) -> int:
    """Return the groups of the convolution that makes the channels of a tensor; 0 if there is none."""
    makers = graph.producers()
    while tensor in makers:
        operator = makers[tensor]
        if operator.traits.weighted and operator.traits.window:
            return operator.window.groups
        if operator.traits.weighted or len(operator.inputs) != 1:
            return 0
        tensor = operator.inputs[0]
    return 0


def _copied(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Keep every channel of the input: the sizes of a copy are part of the network."""
    made = labeller.fresh(labeller.graph.image(operator.output)[0])
    labeller.frozen += [(inputs[0], _COPIED), (made, _COPIED)]
    return made


@CHANNELS.rules("log_softmax", "group_norm", "offset")
def _kept(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    labeller.frozen.append((inputs[0], f"{operator.kind} needs all of its channels"))
    return inputs[0]


@CHANNELS.register("matmul")
def _product(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Keep every channel of the inputs: which elements a product reads is part of the network."""
    made = labeller.fresh(labeller.graph.image(operator.output)[0])
    labeller.frozen += [(labels, "a product of matrices reads it") for labels in (*inputs, made)]
    return made
