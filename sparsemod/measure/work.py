"""What each layer makes its C kernel do, counted: the features that calibrated instructions are a sum of.

The counts follow the loops of the kernels (`sparsemod/export/c/kernels`); what one pass of a loop costs is measured. Quads: kernels work on
four filters at a time and on the rest one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparsemod.arena import Node
from sparsemod.graph import Graph, Operator
from sparsemod.graph.joins import copied
from sparsemod.kinds import Stage
from sparsemod.kinds.encodings import encoded_bytes, mask_bytes
from sparsemod.layouts import Tensors
from sparsemod.measure.nodes import graph_layout

Features = dict[str, float]


@dataclass(frozen=True)
class Loops:
    """The kernel that runs a node, and how often each part of its loops runs."""

    kernel: str
    features: Features


FeatureRule = Callable[[Tensors, Node], Loops]

FEATURES: Stage[FeatureRule] = Stage("the cost model", builtin=("sparsemod.measure.features",))
"""What a layer makes its kernel do, its weights stored densely: (tensors, node) -> Loops, by the kind of layer."""


@dataclass(frozen=True)
class Work:
    """A layer's name, the kernel that runs it, and how often each part of the kernel's loops runs."""

    layer: str
    kernel: str
    features: Mapping[str, float]
    encoding: str = "none"

    @property
    def calls(self) -> str:
        """The kernel and, where it reads weights by another one, that one: their stacks lie on each other."""
        return self.kernel if self.encoding == "none" else f"{self.kernel} {self.encoding}"


def works(graph: Graph, nonzeros: Mapping[str, int] | None = None) -> tuple[Work, ...]:
    """One per kernel call of a deployed graph, in its own order; views run nothing. `nonzeros`: layer -> weights that are not zero, where
    known; they decide how the weights are stored, and what reading them costs. Raises Unsupported for a kind without a rule."""
    operators = {operator.name: operator for operator in graph.operators}
    found = []
    for node in graph_layout(graph).nodes:
        kernel, features = work_of(node, graph.tensors)
        encoding = "none"
        if node.traits.joins:
            plain = sum(
                graph.elements(name) for name in node.inputs if copied(graph, operators[node.name], name)
            )
            features |= {"copied": float(plain), "rescaled": features["rescaled"] - plain}
        if "quad_words" in features:
            stored = encoded(graph, operators[node.name], nonzeros)
            encoding = stored.name
            if encoding != "dense":
                features = _sparse(features, stored)
        found.append(Work(node.name, kernel, features, encoding))
    return tuple(found)


def work_of(node: Node, tensors: Tensors) -> tuple[str, Features]:
    """(kernel, how often each part of its loops runs) of a node, its weights stored densely. Raises Unsupported for a kind without a rule."""
    loops = FEATURES.rule(node.kind, node.name)(tensors, node)
    return loops.kernel, {"call": 1.0, **loops.features}


@dataclass(frozen=True)
class Stored:
    """How a layer's weights are stored: `name` dense, mask or gaps, `bytes` of weights and index, and what they hold."""

    name: str
    bytes: int
    nonzeros: int
    taps: int
    outputs: int


def encoded(graph: Graph, operator: Operator, nonzeros: Mapping[str, int] | None) -> Stored:
    """The smallest encoding, as `sparsemod.export.c.encoding` chooses it; gaps of more than 255 zeros are not counted."""
    weight = graph.state[operator.weight or ""]
    outputs, taps = len(weight), weight[0].numel()
    left = weight.numel() if nonzeros is None else nonzeros[operator.name]
    sizes = encoded_bytes(outputs, taps, left, operator.window.groups)
    name = min(sizes, key=lambda encoding: sizes[encoding])
    return Stored(name, sizes[name], left, taps, outputs)


def _sparse(features: Features, stored: Stored) -> Features:
    """The loops of dense filters, replaced by those over stored weights."""
    windows = features.get("windows", 1.0)
    dense = ("quad_words", "quad_tails", "quads", "single_words", "single_tails", "singles")
    found = {name: count for name, count in features.items() if name not in dense}
    found[f"{stored.name}_weights"] = windows * stored.nonzeros
    found[f"{stored.name}_filters"] = windows * stored.outputs
    if stored.name == "mask":
        found["mask_bytes"] = windows * mask_bytes(stored.outputs, stored.taps)
    return found
