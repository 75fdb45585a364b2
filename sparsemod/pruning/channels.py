"""Groups of channels of a captured network that can only be removed together.

Every channel of every tensor gets a label; channels that can only be removed together share one. A
convolution, linear or recurrent layer makes new labels. Norms, activations, pools and depthwise convolutions
pass them on. Flatten repeats each for every position, concat appends them, and add makes the labels of both
inputs equal. The groups of a grouped convolution stay equal in size: the channels at one place of every group
share a label, at the input and at the output. Channels of the network's input and output are frozen: they
always stay.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsemod.errors import Unsupported
from sparsemod.graph import Graph, Operator
from sparsemod.kinds import Stage

Labels = NDArray[np.int64]

_INPUT, _OUTPUT = "coupled to the network's input", "coupled to the network's output"
_RESHAPED = "its channels take part in a reshape"
_COMPUTED = "its weights are computed"


@dataclass(frozen=True, eq=False)
class Group:
    """Units (labels) of the same layers, pruned together at one ratio, so that counts are known beforehand."""

    layers: tuple[str, ...]
    units: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """The labels of a graph.

    `labels`: per tensor, the label of each channel. `count`: labels are 0 to count - 1. `groups`: the units
    that may be removed. `frozen`: why a layer cannot be pruned, for each layer with at least one frozen
    filter. `rows`: per weight, bias or norm tensor of the module, the label of each row. `filters`: those of
    `rows` that are weights of convolutions (other than depthwise), linear and recurrent layers. `layers`: per
    layer, the label of each filter or unit that it makes. `cells`: per operator of a recurrent layer, the
    module's tensors. `moves`: per operator that moves channels in a known way, what it does.
    """

    labels: Mapping[str, Labels]
    count: int
    groups: tuple[Group, ...]
    frozen: Mapping[str, str]
    rows: Mapping[str, Labels]
    filters: tuple[str, ...]
    layers: Mapping[str, Labels]
    cells: Mapping[str, "Cell"]
    moves: Mapping[str, "Move"]


@dataclass(frozen=True)
class Cell:
    """The tensors of one recurrent layer in one direction, by their names in the module.

    `of_input` (gates x units, features), `of_state` (gates x units, units), `biases` (gates x units,).
    """

    of_input: str
    of_state: str
    biases: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """A copy of elements whose sizes follow from the number of channels.

    `groups`: the number of groups of a channel shuffle of (groups x each, ...) to (each x groups, ...). 0: the copy
    reads all channels of step `step`. `positions`: the positions of a channel.
    """

    groups: int
    positions: int = 1
    step: int = 0

    def attributes(self, channels: int) -> dict[str, Any]:
        """Return the attributes of the operator for an input of `channels` channels."""
        if not self.groups:
            return {"sizes": (channels,), "strides": (1,), "offset": self.step * channels}
        each = channels // self.groups
        sizes, strides = (each, self.groups), (self.positions, each * self.positions)
        more = self.positions > 1
        return {
            "sizes": (*sizes, self.positions) if more else sizes, "strides": (*strides, 1) if more else strides, "offset": 0,
        }  # fmt: skip


def is_depthwise(operator: Operator, channels: int) -> bool:
    """Return whether each output channel reads one input channel of its own group. `channels`: of the input."""
    return operator.window.groups > 1 and operator.window.groups == channels


def channels_of(graph: Graph, owned: Collection[str] | None = None) -> Channels:
    """Label the channels of a captured (not deployed) graph. Raises Unsupported for an operator without a rule.

    `owned`: the names of the module's own tensors. Layers whose weights are computed from others, and
    therefore have another name, are frozen. Without it, recurrent layers are frozen.
    """
    return Labeller(graph, owned).run()


class Labeller:
    """A graph during labelling: the state that the rules read and change."""

    def __init__(self, graph: Graph, owned: Collection[str] | None) -> None:
        self.graph = graph
        self.owned = owned
        self.parent: list[int] = []
        self.frozen: list[tuple[Labels, str]] = []
        self.labels: dict[str, Labels] = {}
        self.rows: dict[str, Labels] = {}
        self.inputs: dict[str, Labels] = {}  # per weight: labels of its input channels
        self.new_labels: dict[
            str, tuple[tuple[str, ...], Labels]
        ] = {}  # per layer: its weights and the labels it makes
        self.cells: dict[str, Cell] = {}
        self.moves: dict[str, Move] = {}

    def run(self) -> Channels:
        graph = self.graph
        for name in graph.inputs:
            self.labels[name] = self.fresh(graph.image(name)[0])
            self.frozen.append((self.labels[name], _INPUT))
        for operator in graph.operators:
            self.labels[operator.output] = self.visit(operator)
        for name in graph.outputs.values():
            self.frozen.append((self.labels[name], _OUTPUT))
        root = np.array([self.find(label) for label in range(len(self.parent))])
        reasons: dict[int, str] = {}
        for labels, reason in self.frozen:
            for unit in root[labels].tolist():
                reasons.setdefault(unit, reason)
        makers: dict[int, list[str]] = {}
        frozen: dict[str, str] = {}
        for layer, (_, layer_labels) in self.new_labels.items():
            for unit in dict.fromkeys(root[layer_labels].tolist()):
                if unit in reasons:
                    frozen.setdefault(layer, reasons[unit])
                else:
                    makers.setdefault(unit, []).append(layer)
        groups: dict[tuple[str, ...], list[int]] = {}
        for unit, layers in makers.items():
            groups.setdefault(tuple(layers), []).append(unit)
        return Channels(
            labels={name: root[labels] for name, labels in self.labels.items()},
            count=len(root),
            groups=tuple(Group(layers, tuple(units)) for layers, units in groups.items()),
            frozen=frozen,
            rows={name: root[labels] for name, labels in self.rows.items()},
            filters=tuple(dict.fromkeys(name for weights, _ in self.new_labels.values() for name in weights)),
            layers={layer: root[labels] for layer, (_, labels) in self.new_labels.items()},
            cells=self.cells,
            moves=self.moves,
        )

    def visit(self, operator: Operator) -> Labels:
        """Return the labels of an operator's output."""
        rule = CHANNELS.rule(operator.kind, operator.name)
        return rule(self, operator, [self.labels[name] for name in operator.inputs])

    def weighted(self, operator: Operator, inputs: Labels) -> Labels:
        """Return new labels for the filters of a layer with weights; a depthwise one passes its input's on."""
        weight = operator.weight
        if weight is None:
            raise Unsupported(
                f"{operator.kind} without weights", operator.name, CHANNELS.title, CHANNELS.names()
            )
        outputs = self.graph.image(operator.output)[0]
        if is_depthwise(operator, len(inputs)):
            labels = np.repeat(inputs, outputs // len(inputs))
        else:
            labels = self.fresh(outputs)
            for side in (inputs, labels):
                self.tie(side, operator.window.groups)
            self.new_labels[operator.name] = ((weight,), labels)
        self.read(weight, inputs)
        self.freeze_computed(weight, labels)
        self.freeze_computed(weight, inputs)
        self.row(weight, labels)
        if operator.bias is not None:
            self.freeze_computed(operator.bias, labels)
            self.row(operator.bias, labels)
        return labels

    def tie(self, labels: Labels, groups: int) -> None:
        """Merge the channels at one place of each of `groups` groups, so that all groups lose equally many."""
        places = labels.reshape(groups, -1)
        for place in places[1:]:
            self.merge(places[0], place)

    def read(self, weight: str, inputs: Labels) -> None:
        """Record the labels of the channels that a weight reads; a layer that is used twice reads the same ones."""
        if weight in self.inputs:
            self.merge(self.inputs[weight], inputs)
        self.inputs[weight] = inputs

    def freeze_computed(self, key: str, labels: Labels) -> None:
        """Freeze labels whose tensor is computed from others."""
        if self.owned is not None and key not in self.owned:
            self.frozen.append((labels, _COMPUTED))

    def fresh(self, count: int) -> Labels:
        """Return unused labels."""
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def row(self, key: str, labels: Labels) -> None:
        """Record the labels of a tensor in the graph's state, one for each row."""
        if key in self.rows:
            self.merge(self.rows[key], labels)
        self.rows[key] = labels

    def merge(self, left: Labels, right: Labels) -> None:
        """Merge labels that can only be removed together, pair by pair."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            first, second = sorted((self.find(a), self.find(b)))
            self.parent[second] = first

    def find(self, label: int) -> int:
        """Return the representative of all labels merged with this one."""
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label


ChannelRule = Callable[[Labeller, Operator, list[Labels]], Labels]

CHANNELS: Stage[ChannelRule] = Stage("filter pruning", builtin=("sparsemod.pruning @CHANNELS",))
"""(labeller, operator, its inputs' labels) -> its output's labels, by kind."""


@CHANNELS.rules("relu", "relu6", "max_pool", "avg_pool", "global_avg_pool", "transpose")
def _passed_on(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    return inputs[0]


@CHANNELS.rules("conv", "linear")
def _weighted(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    return labeller.weighted(operator, inputs[0])


@CHANNELS.register("batch_norm")
def _batch_norm(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    for key in norm_keys(operator):
        labeller.row(key, inputs[0])
        labeller.freeze_computed(key, inputs[0])
    return inputs[0]


@CHANNELS.register("flatten")
def _flatten(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Return each channel's label for each of its positions, in the order of the elements."""
    layout, shape = labeller.graph.layout(operator.inputs[0]), labeller.graph.shapes[operator.inputs[0]]
    axes = [1] * len(shape)
    axes[layout.channel] = -1
    return np.broadcast_to(inputs[0].reshape(axes), shape).reshape(-1)


@CHANNELS.register("reshape")
def _reshape(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    """Pass labels on if only axes of size 1 come or go; else keep all channels, since sizes may be in the code."""
    graph, source = labeller.graph, operator.inputs[0]
    before, after = graph.shapes[source], graph.shapes[operator.output]
    places = [graph.layout(source).channel, graph.layout(operator.output).channel]
    sizes = [[size for size in shape if size > 1] for shape in (before, after)]
    same = before[places[0]] == after[places[1]] and sizes[0] == sizes[1]
    if same and _rank(before, places[0]) == _rank(after, places[1]):
        return inputs[0]
    fresh = labeller.fresh(graph.image(operator.output)[0])
    labeller.frozen += [(inputs[0], _RESHAPED), (fresh, _RESHAPED)]
    return fresh


def _rank(shape: tuple[int, ...], axis: int) -> int:
    """Return the place of an axis among the axes with more than one position."""
    return sum(size > 1 for size in shape[:axis])


@CHANNELS.register("add")
def _add(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    labeller.merge(inputs[0], inputs[1])
    return inputs[0]


@CHANNELS.register("concat")
def _concat(labeller: Labeller, operator: Operator, inputs: list[Labels]) -> Labels:
    if operator.attributes["axis"] == labeller.graph.layout(operator.output).channel:
        return np.concatenate(inputs)
    for following in inputs[1:]:
        labeller.merge(inputs[0], following)
    return inputs[0]


def norm_keys(operator: Operator) -> tuple[str, ...]:
    """Return the names of the per-channel tensors of a batch norm, an affine or a slope in the graph's state."""
    return operator.keys


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by all their names in the module."""
    tensors: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    tensors.update(module.named_parameters(remove_duplicate=False))
    return tensors
