"""What each layer makes its C kernel do, counted: the features that calibrated instructions are a sum of.

The counts follow the loops of the kernels (`sparsemod/export/c/kernels`); what one pass of a loop costs is measured. Quads: kernels work on
four filters at a time and on the rest one by one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena import Node
from sparsemod.arena.nodes import is_depthwise, is_pointwise
from sparsemod.graph import Graph, Operator
from sparsemod.measure.nodes import graph_layout
from sparsemod.targets import OperatorModel

Shape = tuple[int, ...]
Features = dict[str, float]
_CLAMPED_EARLY = ("max_pool", "flatten", "relu", "relu6")


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
    form). Together they decide what reading the weights costs.
    """
    operators = {operator.name: operator for operator in graph.operators}
    found = []
    for node in graph_layout(graph).nodes:
        kernel, features = work_of(
            node, graph.shapes, operators[node.name].attributes.get("dilation", (1, 1))
        )
        if kernel == "concat":
            copied = sum(
                math.prod(graph.shapes[name])
                for name in node.inputs
                if _copied(graph, operators[node.name], name)
            )
            features |= {"copied": float(copied), "rescaled": features.pop("elements") - copied}
        encoding = "none"
        if "quad_words" in features:
            stored = encoded(graph, operators[node.name], nonzeros, encodings)
            encoding = stored.name
            if encoding != "dense":
                features = sparse_features(features, stored)
        found.append(Work(node.name, kernel, features, encoding))
    return tuple(found)


def work_of(
    node: Node, shapes: Mapping[str, Shape], dilation: Sequence[int] = (1, 1)
) -> tuple[str, Features]:
    """(kernel, how often each part of its loops runs) of a node, its weights stored densely."""
    kernel = kernel_of(node, shapes)
    sources = [shapes[name] for name in node.inputs]
    return kernel, {"call": 1.0, **_FEATURES[kernel](node, sources, shapes[node.output], tuple(dilation))}


def layer_instructions(kernel: str, features: Mapping[str, float], model: OperatorModel) -> float:
    """Instructions of one layer, as a core's model predicts them."""
    coefficients = model.instructions.get(kernel, {})
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
    dense = Stored("dense", outputs * taps, left, taps, outputs)
    if weights.groups > 1:
        return (dense,)
    kept = left + weights.bridges
    gaps = Stored("gaps", 2 * kept + outputs, kept, taps, outputs)
    mask = Stored("mask", left + outputs * ((taps + 7) // 8), left, taps, outputs)
    return dense, gaps, mask


def weights_of(graph: Graph, operator: Operator, nonzeros: Mapping[str, int] | None) -> Weights:
    """The weights of a conv or linear operator."""
    weight = graph.state[operator.weight or ""]
    left = weight.numel() if nonzeros is None else nonzeros[operator.name]
    return Weights(len(weight), weight[0].numel(), int(operator.attributes.get("groups", 1)), left)


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
        found["mask_bytes"] = windows * stored.outputs * ((stored.taps + 7) // 8)
    return found


def _copied(graph: Graph, concat: Operator, name: str) -> bool:
    """Whether quantization gives this input of a concat the output's scale: where nothing else reads what leads to it."""
    users, producers, reader = graph.users(), graph.producers(), concat
    while users[name] == [reader] and name in producers:
        reader = producers[name]
        if reader.kind not in _CLAMPED_EARLY:
            return reader.kind != "avg_pool"
        name = reader.inputs[0]
    return False


def kernel_of(node: Node, shapes: Mapping[str, Shape]) -> str:
    """The kernel that generated C calls for a node."""
    if node.kind != "conv":
        return node.kind
    if is_depthwise(node, shapes[node.inputs[0]][0], shapes[node.output][0]):
        return "depthwise"
    return "conv_1x1" if is_pointwise(node) else "conv"


def _filters(taps: int, outputs: int, windows: int) -> Features:
    quads, rest = divmod(outputs, 4)
    return {
        "quad_words": float(windows * quads * (taps // 4)),
        "quad_tails": float(windows * quads * (taps % 4)),
        "quads": float(windows * quads),
        "single_words": float(windows * rest * (taps // 4)),
        "single_tails": float(windows * rest * (taps % 4)),
        "singles": float(windows * rest),
        "windows": float(windows),
    }


@dataclass(frozen=True)
class _Windows:
    """How windows lie on an input: taps inside of it for each output row and column, `edges` at which some lie outside."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    kernel: tuple[int, int]

    @property
    def positions(self) -> int:
        """Outputs of one channel."""
        return len(self.rows) * len(self.columns)

    @property
    def lines(self) -> int:
        """Kernel rows inside, over all positions."""
        return sum(self.rows) * len(self.columns)

    @property
    def inside(self) -> int:
        """Taps inside, over all positions."""
        return sum(self.rows) * sum(self.columns)

    @property
    def outside(self) -> int:
        """Taps outside, over all positions."""
        return math.prod(self.kernel) * self.positions - self.inside

    def loops(self) -> Features:
        """The loops that every windowed kernel has: rows, positions, and those at an edge."""
        edges = sum(c < self.kernel[1] for c in self.columns) * len(self.rows)
        edges += sum(r < self.kernel[0] for r in self.rows)
        return {"rows": float(len(self.rows)), "positions": float(self.positions), "edges": float(edges)}


def _windows(node: Node, source: Shape, result: Shape, dilation: Shape) -> _Windows:
    spans = []
    for axis in (0, 1):
        stride, before, apart, size = (
            node.stride[axis],
            node.padding[2 * axis],
            dilation[axis],
            source[1 + axis],
        )
        places = range(result[1 + axis])
        taps = range(node.kernel[axis])
        spans.append(
            tuple(sum(0 <= place * stride - before + tap * apart < size for tap in taps) for place in places)
        )
    return _Windows(spans[0], spans[1], node.kernel)


def _conv(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    channels = sources[0][0] // node.groups
    windows = _windows(node, sources[0], result, dilation)
    lines = sum(windows.rows) * node.groups
    # Without dilation and groups the taps of a kernel row lie in one piece.
    joined = node.groups == 1 and dilation[1] == 1
    pieces = [span * channels for span in windows.columns] if joined else [channels] * sum(windows.columns)
    return {
        **_filters(
            math.prod(node.kernel) * channels, result[0] // node.groups, windows.positions * node.groups
        ),
        "lines": float(lines * len(windows.columns)),
        "pieces": float(lines * len(pieces)),
        "copied_words": float(lines * sum(piece // 4 for piece in pieces)),
        "copied_tails": float(lines * sum(piece % 4 for piece in pieces)),
        "filled": float(windows.outside * channels * node.groups),
        **windows.loops(),
    }


def _pointwise(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    return {**_filters(sources[0][0], result[0], result[1] * result[2]), "rows": float(result[1])}


def _linear(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    found = _filters(sources[0][0], result[0], 1)
    del found["windows"]
    return found


def _depthwise(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    windows, (quads, rest) = _windows(node, sources[0], result, dilation), divmod(result[0], 4)
    return {
        "quad_taps": float(windows.inside * quads),
        "quad_outside": float(windows.outside * quads),
        "quad_lines": float(windows.positions * node.kernel[0] * quads),
        "quads": float(windows.positions * quads),
        "single_taps": float(windows.inside * rest),
        "single_outside": float(windows.outside * rest),
        "single_lines": float(windows.positions * node.kernel[0] * rest),
        "singles": float(windows.positions * rest),
        **windows.loops(),
    }


def _max_pool(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    windows, (quads, rest) = _windows(node, sources[0], result, dilation), divmod(result[0], 4)
    return {
        "quad_taps": float(windows.inside * quads),
        "quad_lines": float(windows.lines * quads),
        "quads": float(windows.positions * quads),
        "single_taps": float(windows.inside * rest),
        "single_lines": float(windows.lines * rest),
        "singles": float(windows.positions * rest),
        **windows.loops(),
    }


def _avg_pool(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    windows = _windows(node, sources[0], result, dilation)
    return {
        "taps": float(windows.inside * result[0]),
        "lines": float(windows.lines * result[0]),
        "outputs": float(windows.positions * result[0]),
        **windows.loops(),
    }


def _mean(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    return {"elements": float(math.prod(sources[0])), "outputs": float(result[0])}


def _elements(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    return {"elements": float(math.prod(result)), "channels": float(result[0])}


def _concat(node: Node, sources: list[Shape], result: Shape, dilation: Shape) -> Features:
    inner = math.prod(result[1:])
    return {
        "inputs": float(len(sources)),
        "runs": float(len(sources) * inner),
        "elements": float(math.prod(result)),
    }


_FEATURES: Mapping[str, Callable[[Node, list[Shape], Shape, Shape], Features]] = {
    "conv": _conv,
    "conv_1x1": _pointwise,
    "depthwise": _depthwise,
    "linear": _linear,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _mean,
    "add": _elements,
    "clamp": _elements,
    "flatten": _elements,
    "concat": _concat,
}
KERNELS = tuple(_FEATURES)
"""Every kernel that has a rule here."""
