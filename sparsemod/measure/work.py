"""What each layer makes its C kernel do, counted: the features that calibrated instructions are a sum of.

The counts follow the loops of the kernels (`sparsemod/export/c/kernels`); what one pass of a loop costs is measured. Quads: kernels work on
four filters at a time and on the rest one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparsemod.arena import Node
from sparsemod.errors import Unsupported
from sparsemod.graph import Graph, Operator
from sparsemod.graph.joins import copied
from sparsemod.kinds import Stage
from sparsemod.kinds.encodings import encoded_bytes, mask_bytes
from sparsemod.layouts import Tensors
from sparsemod.measure.nodes import graph_layout
from sparsemod.targets import OperatorModel

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


def works(
    graph: Graph, nonzeros: Mapping[str, int] | None = None, encodings: Mapping[str, str] | None = None
) -> tuple[Work, ...]:
    """One per kernel call of a deployed graph, in its own order; views run nothing.

    `nonzeros`: layer -> weights that are not zero (default: all); `encodings`: layer -> how its weights are stored (default: the smallest
    form). Together they decide what reading the weights costs. Raises Unsupported for a kind without a rule.
    """
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
            stored = encoded(graph, operators[node.name], nonzeros, encodings)
            encoding = stored.name
            if encoding != "dense":
                features = sparse_features(features, stored)
        found.append(Work(node.name, kernel, features, encoding))
    return tuple(found)


def work_of(node: Node, tensors: Tensors) -> tuple[str, Features]:
    """(kernel, how often each part of its loops runs) of a node, its weights stored densely. Raises Unsupported for a kind without a rule."""
    loops = FEATURES.rule(node.kind, node.name)(tensors, node)
    return loops.kernel, {"call": 1.0, **loops.features}


def layer_instructions(
    kernel: str, features: Mapping[str, float], model: OperatorModel, layer: str = ""
) -> float:
    """Instructions of one layer, as a core's model predicts them. Raises Unsupported for a kernel that the model was not fitted to."""
    coefficients = model.instructions.get(kernel)
    if coefficients is None:
        hint = f"sparsemod calibrate --core {model.core} fits it"
        by = f"the operator model of {model.core}"
        raise Unsupported(kernel, layer, by, sorted(model.instructions), hint)
    return sum(coefficients.get(name, 0.0) * count for name, count in features.items())


@dataclass(frozen=True)
class Weights:
    """A layer's weights: `outputs` filters of `taps`, in `groups`; `nonzeros` of them are not zero. `bridges`: zeros that gaps have to store
    within runs of more than 255, where that is known."""

    outputs: int
    taps: int
    groups: int
    nonzeros: int
    bridges: int = 0


@dataclass(frozen=True)
class Stored:
    """How a layer's weights are stored: `name` dense, mask or gaps, `bytes` of weights and index, and what they hold."""

    name: str
    bytes: int
    nonzeros: int
    taps: int
    outputs: int


def stored_forms(weights: Weights) -> tuple[Stored, ...]:
    """The forms in which `sparsemod.export.c.encoding` can store the weights, dense first."""
    outputs, taps, left = weights.outputs, weights.taps, weights.nonzeros
    sizes = encoded_bytes(outputs, taps, left, weights.groups, weights.bridges)
    kept = {"gaps": left + weights.bridges}
    return tuple(Stored(name, size, kept.get(name, left), taps, outputs) for name, size in sizes.items())


def weights_of(graph: Graph, operator: Operator, nonzeros: Mapping[str, int] | None) -> Weights:
    """The weights of an operator."""
    weight = graph.state[operator.weight or ""]
    left = weight.numel() if nonzeros is None else nonzeros[operator.name]
    return Weights(len(weight), weight[0].numel(), operator.window.groups, left)


def encoded(
    graph: Graph,
    operator: Operator,
    nonzeros: Mapping[str, int] | None,
    encodings: Mapping[str, str] | None = None,
) -> Stored:
    """The weights of an operator as stored under `encodings`, or in the smallest form."""
    forms = stored_forms(weights_of(graph, operator, nonzeros))
    if encodings is None:
        return min(forms, key=lambda stored: stored.bytes)
    wanted = encodings.get(operator.name, "dense")
    return next((stored for stored in forms if stored.name == wanted), forms[0])


def sparse_features(features: Features, stored: Stored) -> Features:
    """The loops of `_filters`, replaced by those over stored weights."""
    windows = features.get("windows", 1.0)
    dense = ("quad_words", "quad_tails", "quads", "single_words", "single_tails", "singles")
    found = {name: count for name, count in features.items() if name not in dense}
    found[f"{stored.name}_weights"] = windows * stored.nonzeros
    found[f"{stored.name}_filters"] = windows * stored.outputs
    if stored.name == "mask":
        found["mask_bytes"] = windows * mask_bytes(stored.outputs, stored.taps)
    return found
