"""Which channels of a captured network belong together: what removing one filter takes with it.

Every channel of every tensor gets a label; channels that can only go together get the same one. A convolution
or linear layer makes new labels; norms, activations, pools and depthwise convolutions pass them on; flatten
repeats each for every position; concat puts them one after another; add makes the two sides' labels equal.
Channels of the network's input and output and of grouped convolutions are frozen: they always stay.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsemod.errors import Unsupported
from sparsemod.graph import Graph, Operator

Labels = NDArray[np.int64]

_INPUT, _OUTPUT = "coupled to the network's input", "coupled to the network's output"
_GROUPED, _COMPUTED = "tied to a grouped convolution", "its weights are computed"
_PASSING = ("batch_norm", "relu", "relu6", "max_pool", "avg_pool", "global_avg_pool")
_KNOWN = ("conv", "linear", *_PASSING, "add", "concat", "flatten")


@dataclass(frozen=True, eq=False)
class Group:
    """Units (labels) made by the same layers: pruned together at one ratio, so that counts are known
    beforehand."""

    layers: tuple[str, ...]
    units: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """The labels of a graph.

    `labels`: per tensor, the label of each channel; `count`: labels are 0 to count - 1; `groups`: the units
    that may go; `frozen`: why a layer cannot be pruned, for each layer with at least one frozen filter;
    `rows`: per weight, bias or norm tensor in the graph's state, the label of each row; `filters`: those of
    `rows` that are weights of convolutions (other than depthwise) and linear layers.
    """

    labels: Mapping[str, Labels]
    count: int
    groups: tuple[Group, ...]
    frozen: Mapping[str, str]
    rows: Mapping[str, Labels]
    filters: tuple[str, ...]


def is_depthwise(operator: Operator, channels: int) -> bool:
    """Whether each output channel reads one input channel of its own group. `channels`: of the input."""
    groups = operator.attributes["groups"] if operator.kind == "conv" else 1
    return bool(groups > 1 and groups == channels)


def channels_of(graph: Graph, owned: Collection[str] | None = None) -> Channels:
    """Label the channels of a captured (not deployed) graph. Raises Unsupported for an operator without a
    rule.

    `owned`: the names of the module's own tensors; layers whose weights are computed from others (and so have
    another name) are frozen.
    """
    return _Labeller(graph, owned).run()


class _Labeller:
    def __init__(self, graph: Graph, owned: Collection[str] | None) -> None:
        self.graph = graph
        self.owned = owned
        self.parent: list[int] = []
        self.frozen: list[tuple[Labels, str]] = []
        self.labels: dict[str, Labels] = {}
        self.rows: dict[str, Labels] = {}
        self.inputs: dict[str, Labels] = {}  # per weight: labels of its input channels
        self.made: dict[str, tuple[str, Labels]] = {}  # per layer: its weight and the labels it makes

    def run(self) -> Channels:
        graph = self.graph
        self.labels[graph.input] = self.fresh(graph.shapes[graph.input][0])
        self.frozen.append((self.labels[graph.input], _INPUT))
        for operator in graph.operators:
            self.labels[operator.output] = self.visit(operator)
        self.frozen.append((self.labels[graph.output], _OUTPUT))
        root = np.array([self.find(label) for label in range(len(self.parent))])
        reasons: dict[int, str] = {}
        for labels, reason in self.frozen:
            for unit in root[labels].tolist():
                reasons.setdefault(unit, reason)
        makers: dict[int, list[str]] = {}
        frozen: dict[str, str] = {}
        for layer, (_, made) in self.made.items():
            for unit in dict.fromkeys(root[made].tolist()):
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
            filters=tuple(dict.fromkeys(weight for weight, _ in self.made.values())),
        )

    def visit(self, operator: Operator) -> Labels:
        inputs = [self.labels[name] for name in operator.inputs]
        if operator.kind in ("conv", "linear"):
            return self.weighted(operator, inputs[0])
        if operator.kind in _PASSING:
            if operator.kind == "batch_norm":
                for key in norm_keys(operator):
                    self.row(key, inputs[0])
                    self.freeze_computed(key, inputs[0])
            return inputs[0]
        if operator.kind == "flatten":
            return np.repeat(inputs[0], math.prod(self.graph.shapes[operator.inputs[0]][1:]))
        if operator.kind == "add":
            self.merge(inputs[0], inputs[1])
            return inputs[0]
        if operator.kind == "concat":
            if operator.attributes["axis"] == 0:
                return np.concatenate(inputs)
            for other in inputs[1:]:
                self.merge(inputs[0], other)
            return inputs[0]
        raise Unsupported(operator.kind, operator.name, "filter pruning", _KNOWN)

    def weighted(self, operator: Operator, inputs: Labels) -> Labels:
        weight = operator.weight
        if weight is None:
            raise Unsupported(f"{operator.kind} without weights", operator.name, "filter pruning", _KNOWN)
        outputs = self.graph.shapes[operator.output][0]
        if is_depthwise(operator, len(inputs)):
            made = np.repeat(inputs, outputs // len(inputs))
        else:
            made = self.fresh(outputs)
            if operator.kind == "conv" and operator.attributes["groups"] > 1:
                self.frozen += [(inputs, _GROUPED), (made, _GROUPED)]
            self.made[operator.name] = (weight, made)
        if weight in self.inputs:  # a layer that is used twice
            self.merge(self.inputs[weight], inputs)
        self.inputs[weight] = inputs
        self.freeze_computed(weight, made)
        self.freeze_computed(weight, inputs)
        self.row(weight, made)
        if operator.bias is not None:
            self.freeze_computed(operator.bias, made)
            self.row(operator.bias, made)
        return made

    def freeze_computed(self, key: str, labels: Labels) -> None:
        if self.owned is not None and key not in self.owned:
            self.frozen.append((labels, _COMPUTED))

    def fresh(self, count: int) -> Labels:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def row(self, key: str, labels: Labels) -> None:
        if key in self.rows:
            self.merge(self.rows[key], labels)
        self.rows[key] = labels

    def merge(self, left: Labels, right: Labels) -> None:
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            first, second = sorted((self.find(a), self.find(b)))
            self.parent[second] = first

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label


def norm_keys(operator: Operator) -> tuple[str, ...]:
    """Names of the per-channel tensors of a batch norm in the graph's state."""
    own = (operator.weight, operator.bias, operator.attributes["mean"], operator.attributes["variance"])
    return tuple(key for key in own if key is not None)


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have in the module."""
    found: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    found.update(module.named_parameters(remove_duplicate=False))
    return found
