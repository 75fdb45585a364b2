"""Loop counts of each layer's C kernel: the features whose weighted sum predicts instructions.

The counts follow the loops of the kernels (`sparsemod/export/c/kernels`); calibration measures the cost of one pass of a loop. Quads:
kernels process four filters at a time, and the remaining ones one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sparsemod.arena import Chain, Fused, Node
from sparsemod.errors import Unsupported
from sparsemod.graph import Graph, Operator
from sparsemod.graph.joins import copied
from sparsemod.kinds import Stage
from sparsemod.kinds.encodings import encoded_bytes, mask_bytes
from sparsemod.kinds.families import family_of
from sparsemod.layouts import Tensors
from sparsemod.measure.nodes import graph_layout
from sparsemod.targets import OperatorModel

Features = dict[str, float]


@dataclass(frozen=True)
class Loops:
    """The kernel that runs a node, and the iteration count of each part of its loops.

    `own`: the loops of the kernel that is generated for the node's shape, by family of cores. `code`: the parts of such a kernel's code,
    beside the kernel itself; `extra`: the bytes of its constants beyond those of the plain kernel; `sure`: whether
    its sums fit, as far as the shape tells. Elsewhere the prediction is that of the plain kernel."""

    kernel: str
    features: Features
    own: "Mapping[str, Loops]" = field(default_factory=dict)
    code: Mapping[str, float] = field(default_factory=dict)
    extra: int = 0
    sure: bool = True


FeatureRule = Callable[[Tensors, Node], Loops]

FEATURES: Stage[FeatureRule] = Stage("the cost model", builtin=("sparsemod.measure @FEATURES",))
"""Rules that count a kernel's loops with dense weights: (tensors, node) -> Loops, by kind of layer."""

CONSTANTS: Stage[Callable[[Tensors, Node], int]] = Stage(
    "the size of constants", builtin=("sparsemod.measure @CONSTANTS",)
)
"""Rules for the bytes of constants beside weights, by kind of layer: tables and lists. Kinds without a rule have none.

Layers whose constants are equal share them, which is known only after quantization: then the size is a bound from above."""


@dataclass(frozen=True)
class Work:
    """A layer's name, its kernel, and the iteration count of each part of the kernel's loops."""

    layer: str
    kernel: str
    features: Mapping[str, float]
    encoding: str = "none"
    own: Mapping[str, Loops] = field(default_factory=dict)
    code: Mapping[str, float] = field(default_factory=dict)
    extra: int = 0

    @property
    def parts(self) -> Mapping[str, float]:
        """The parts of the layer's code in flash: its kernel, the reader of its weights, and the parts of a generated kernel."""
        own = {f"{self.kernel} {name}": count for name, count in self.code.items()}
        return {self.kernel: 1.0, self.encoding: 1.0, **own}

    def on(self, model: OperatorModel) -> "Work":
        """Return the work of the kernel that runs on the model's core.

        This is the plain kernel where the model was not fitted to the core's own one."""
        own = self.own.get(family_of(model.core))
        runs = own is not None and own.sure and own.kernel in model.instructions
        return self.special(model.core) if runs else replace(self, own={})

    def special(self, core: str) -> "Work":
        """Return the work of the kernel that is generated for `core`, if there is one."""
        own = self.own.get(family_of(core))
        if own is None:
            return self
        return Work(self.layer, own.kernel, own.features, code=own.code, extra=own.extra)

    @property
    def calls(self) -> str:
        """The kernel and, if it calls another kernel to read weights, that kernel; their stacks add up."""
        return self.kernel if self.encoding == "none" else f"{self.kernel} {self.encoding}"


ROWS = "rows"
"""The name of the code around the kernels of layers that run together, beside those of the kernels."""


def works(
    graph: Graph,
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
    fused: Sequence[Fused] = (),
) -> tuple[Work, ...]:
    """Return one `Work` per layer that calls a kernel, in the graph's order; views call none. Where layers run together (`fused`), the
    features are those of all calls, and after the last one follows the `Work` of the code around them, named after all.

    `nonzeros`: layer -> number of nonzero weights (default: all); `encodings`: layer -> encoding of its weights (default: the
    smallest). Both determine the cost of reading the weights. Raises Unsupported for a kind without a rule.
    """
    layout = graph_layout(graph, fused=fused)
    operators = {operator.name: operator for operator in graph.operators}
    calls: list[Work] = []
    for index, node in enumerate(layout.nodes):
        if index in layout.chains:
            calls += chain_works(graph, layout.chains[index], operators, nonzeros, encodings)
        else:
            calls.append(_work(graph, node, graph.tensors, operators, nonzeros, encodings))
    return tuple(calls)


def chain_works(
    graph: Graph,
    chain: Chain,
    operators: Mapping[str, Operator],
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
) -> list[Work]:
    """Return the works of layers that run together, and that of the code around their kernels."""
    found = []
    for part in chain.parts:
        tensors, times = part.tensors(graph.tensors), chain.calls(part)
        one = _work(graph, part.node, tensors, operators, nonzeros, encodings)
        own = {
            family: replace(loops, features=_times(loops.features, times))
            for family, loops in one.own.items()
        }
        found.append(replace(one, features=_times(one.features, times), own=own))
    return [*found, Work(" + ".join(chain.fused.layers), ROWS, chain.work)]


def _times(features: Mapping[str, float], times: int) -> Features:
    return {name: times * count for name, count in features.items()}


def _work(
    graph: Graph,
    node: Node,
    tensors: Tensors,
    operators: Mapping[str, Operator],
    nonzeros: Mapping[str, int] | None,
    encodings: Mapping[str, str] | None,
) -> Work:
    loops = loops_of(node, tensors)
    features, own, encoding = loops.features, loops.own, "none"
    if (encodings or {}).get(node.name) == "plain":
        own = {}
    if node.traits.joins:
        plain = sum(graph.elements(name) for name in node.inputs if copied(graph, operators[node.name], name))
        features |= {"copied": float(plain), "rescaled": features["rescaled"] - plain}
    if "quad_words" in features:
        stored = encoded(graph, operators[node.name], nonzeros, encodings)
        encoding = stored.name
        if encoding != "dense":
            features, own = sparse_features(features, stored), {}
    return Work(node.name, loops.kernel, features, encoding, own)


def work_of(node: Node, tensors: Tensors) -> tuple[str, Features]:
    """Return a node's kernel and loop counts with dense weights. Raises Unsupported for a kind without a rule."""
    loops = loops_of(node, tensors)
    return loops.kernel, loops.features


def loops_of(node: Node, tensors: Tensors) -> Loops:
    """Return a node's loops with dense weights, and its call. Raises Unsupported for a kind without a rule."""
    loops = FEATURES.rule(node.kind, node.name)(tensors, node)
    own = {
        family: replace(each, features={"call": 1.0, **each.features}) for family, each in loops.own.items()
    }
    return Loops(loops.kernel, {"call": 1.0, **loops.features}, own)


def layer_instructions(
    kernel: str, features: Mapping[str, float], model: OperatorModel, layer: str = ""
) -> float:
    """Return one layer's instructions, predicted by a core's model; 0 for the code around layers that run together where the model
    lacks it. Raises Unsupported for another kernel that the model was not fitted to."""
    coefficients = model.instructions.get(kernel)
    if coefficients is None and kernel == ROWS:
        return 0.0  # a model from before layers ran together
    if coefficients is None:
        hint = f"sparsemod calibrate --core {model.core} fits it"
        by = f"the operator model of {model.core}"
        raise Unsupported(kernel, layer, by, sorted(model.instructions), hint)
    return sum(coefficients.get(name, 0.0) * count for name, count in features.items())


@dataclass(frozen=True)
class Weights:
    """A layer's weights: `outputs` filters of `taps`, in `groups`; `nonzeros` is the number of nonzero weights.

    `bridges`: the number of zeros that `gaps` stores within runs of more than 255 zeros, when known."""

    outputs: int
    taps: int
    groups: int
    nonzeros: int
    bridges: int = 0


@dataclass(frozen=True)
class Stored:
    """A layer's encoded weights: `name` of the encoding (dense, mask or gaps), `bytes` of weights and index, and their counts."""

    name: str
    bytes: int
    nonzeros: int
    taps: int
    outputs: int


def stored_forms(weights: Weights) -> tuple[Stored, ...]:
    """Return the encodings in which `sparsemod.export.c.encoding` can store the weights, dense first."""
    outputs, taps, nonzeros = weights.outputs, weights.taps, weights.nonzeros
    sizes = encoded_bytes(outputs, taps, nonzeros, weights.groups, weights.bridges)
    stored_weights = {"gaps": nonzeros + weights.bridges}
    return tuple(
        Stored(name, size, stored_weights.get(name, nonzeros), taps, outputs) for name, size in sizes.items()
    )


def weights_of(graph: Graph, operator: Operator, nonzeros: Mapping[str, int] | None) -> Weights:
    """Return the weights of an operator."""
    weight = graph.state[operator.weight or ""]
    nonzero_count = weight.numel() if nonzeros is None else nonzeros[operator.name]
    groups = len(weight) if operator.traits.dense else operator.window.groups
    return Weights(len(weight), weight[0].numel(), groups, nonzero_count)


def encoded(
    graph: Graph,
    operator: Operator,
    nonzeros: Mapping[str, int] | None,
    encodings: Mapping[str, str] | None = None,
) -> Stored:
    """Return an operator's weights as encoded by `encodings`, or in the smallest encoding."""
    forms = stored_forms(weights_of(graph, operator, nonzeros))
    if encodings is None:
        return min(forms, key=lambda stored: stored.bytes)
    encoding = encodings.get(operator.name, "dense")
    return next((stored for stored in forms if stored.name == encoding), forms[0])


def sparse_features(features: Features, stored: Stored) -> Features:
    """Replace the loops of `_filters` by loops over the encoded weights."""
    windows = features.get("windows", 1.0)
    dense = ("quad_words", "quad_tails", "quads", "single_words", "single_tails", "singles")
    encoded_features = {name: count for name, count in features.items() if name not in dense}
    encoded_features[f"{stored.name}_weights"] = windows * stored.nonzeros
    encoded_features[f"{stored.name}_filters"] = windows * stored.outputs
    if stored.name == "mask":
        encoded_features["mask_bytes"] = windows * mask_bytes(stored.outputs, stored.taps)
    return encoded_features
