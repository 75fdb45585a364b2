"""Static int8 quantization of a deployed graph: one rule per kind of operator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph import Graph, Operator
from sparsemod.quantization.arithmetic import (
    WEIGHT_MAX,
    activation_parameters,
    clamp_range,
    quantize_multiplier,
    rescale_multipliers,
)
from sparsemod.quantization.calibration import Range, calibrate
from sparsemod.quantization.integer_network import IntegerNetwork, TensorInfo
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
)

Float64 = NDArray[np.float64]
_BIAS_MAX = 2.0**29  # leaves half of the 32-bit accumulator to the products
_RESULT_MAX = 2.0**30  # a requantized value before its clamp
_RESCALE_MAX = 2.0**19
# What lies outside the range of these operators' results may be clamped before instead of after them.
# (Not so with means: a value that is out of range takes part in one that is not.)
_CLAMP_EARLY = ("max_pool", "relu", "relu6", "flatten")


def quantize_static(graph: Graph, samples: Tensor, rule: str = "min_max") -> IntegerNetwork:
    """The integer network of a deployed `graph`.

    Weights: int8 per output channel, symmetric (zero stays zero). Activations: int8 per tensor, asymmetric,
    spanning what `rule` (see `sparsemod.quantization.calibration`) says of `samples` (N, *input shape).
    Biases: int32. Raises Unsupported for an operator without an integer kernel, InvalidInput for weights or
    activations that are not finite.
    """
    for operator in graph.operators:
        if operator.kind not in RULES:
            raise Unsupported(operator.kind, operator.name, "static quantization", sorted(RULES))
    ranges = _joined(graph, calibrate(graph, samples, rule))
    build = _Build(graph, ranges)
    build.tensors[graph.input] = build.spanned(graph.input, 0.0)
    for operator in graph.operators:
        build.layers.append(RULES[operator.kind](build, operator))
    return IntegerNetwork(graph.input, graph.output, build.tensors, tuple(build.layers))


def _joined(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Where a tensor feeds only a concat, both get the same range, so that the concat can copy bytes."""
    ranges = dict(ranges)
    users, producers = graph.users(), graph.producers()
    for operator in reversed(graph.operators):
        if operator.kind != "concat":
            continue
        for name in operator.inputs:
            source, reader = name, operator
            while users[source] == [reader] and source in producers:
                reader = producers[source]
                if reader.kind not in _CLAMP_EARLY:
                    ranges[source] = ranges[operator.output]
                    break
                source = reader.inputs[0]
    return ranges


@dataclass
class _Build:
    graph: Graph
    ranges: Mapping[str, Range]
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def spanned(self, name: str, least: float) -> TensorInfo:
        """The tensor with the scale of its range, or `least` where that is larger."""
        return TensorInfo(self.graph.shapes[name], *activation_parameters(*self.ranges[name], least))

    def base(self, operator: Operator) -> dict[str, Any]:
        return {"name": operator.name, "inputs": operator.inputs, "output": operator.output}

    def sources(self, operator: Operator) -> list[TensorInfo]:
        return [self.tensors[name] for name in operator.inputs]

    def same(self, operator: Operator) -> TensorInfo:
        """The output has its input's scale and zero point."""
        source = self.tensors[operator.inputs[0]]
        made = TensorInfo(self.graph.shapes[operator.output], source.scale, source.zero_point)
        self.tensors[operator.output] = made
        return made

    def clamps(self, operator: Operator) -> dict[str, Any]:
        made = self.tensors[operator.output]
        low, high = clamp_range(operator.attributes.get("activation"), made.scale, made.zero_point)
        return {"low": low, "high": high}

    def weights(self, operator: Operator, weight: Float64, bias: Float64) -> dict[str, Any]:
        """The fields of a layer with weights; fixes the scale of its output."""
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise InvalidInput(
                f"layer {operator.name!r}", "weights", "finite values; the network has diverged"
            )
        source = self.tensors[operator.inputs[0]]
        flat = weight.reshape(len(weight), -1)
        largest = np.abs(flat).max(axis=1)
        empty = largest < 1e-30
        # Small weights beside a large bias: the scale grows until the bias fits.
        scale = np.maximum(largest / WEIGHT_MAX, np.abs(bias) / (source.scale * _BIAS_MAX)).astype(np.float32)
        scale[empty] = 1.0
        integers = np.where(empty[:, None], 0.0, np.rint(flat / scale[:, None].astype(np.float64)))
        integers = np.clip(integers, -WEIGHT_MAX, WEIGHT_MAX)
        reach = np.abs(integers).sum(axis=1) * 255 * source.scale * scale + np.abs(bias)
        made = self.spanned(operator.output, float(np.where(empty, 0.0, reach).max()) / _RESULT_MAX)
        self.tensors[operator.output] = made
        # A channel without weights is its bias: in steps of the output its multiplier is 1.
        scale[empty] = np.float32(made.scale / source.scale)
        unit = source.scale * scale.astype(np.float64)
        multiplier, shift = quantize_multiplier(unit / made.scale)
        biases = np.clip(np.rint(bias / unit), -(2.0**30), 2.0**30)
        return {
            "weight": integers.astype(np.int8).reshape(weight.shape),
            "bias": biases.astype(np.int32),
            "multiplier": multiplier,
            "shift": shift,
            "weight_scale": scale,
            **self.clamps(operator),
        }

    def array(self, key: str) -> Float64:
        return self.graph.state[key].detach().cpu().double().numpy()

    def weight_and_bias(self, operator: Operator) -> tuple[Float64, Float64]:
        if operator.weight is None:
            raise InvalidInput(f"operator {operator.name!r}.weight", None, "a key into the graph's state")
        weight = self.array(operator.weight)
        return weight, np.zeros(len(weight)) if operator.bias is None else self.array(operator.bias)


Rule = Callable[[_Build, Operator], Layer]


def _conv(build: _Build, operator: Operator) -> Layer:
    a = operator.attributes
    weights = build.weights(operator, *build.weight_and_bias(operator))
    geometry: dict[str, Any] = {name: tuple(a[name]) for name in ("stride", "padding", "dilation")}
    return Conv(**build.base(operator), **weights, **geometry, groups=a["groups"])


def _linear(build: _Build, operator: Operator) -> Layer:
    return Linear(**build.base(operator), **build.weights(operator, *build.weight_and_bias(operator)))


def _max_pool(build: _Build, operator: Operator) -> Layer:
    a = operator.attributes
    build.same(operator)
    geometry: dict[str, Any] = {name: tuple(a[name]) for name in ("kernel", "stride", "padding", "dilation")}
    return MaxPool(**build.base(operator), **geometry, ceil=bool(a["ceil_mode"]))


def _avg_pool(build: _Build, operator: Operator) -> Layer:
    a = operator.attributes
    build.same(operator)
    geometry: dict[str, Any] = {name: tuple(a[name]) for name in ("kernel", "stride", "padding")}
    padded = bool(a["count_include_pad"])
    return AvgPool(**build.base(operator), **geometry, ceil=bool(a["ceil_mode"]), count_padding=padded)


def _global_avg_pool(build: _Build, operator: Operator) -> Layer:
    (source,) = build.sources(operator)
    made = build.spanned(operator.output, source.scale / _RESCALE_MAX)
    build.tensors[operator.output] = made
    positions = source.shape[1] * source.shape[2]
    multiplier, shift = quantize_multiplier(source.scale / (made.scale * positions))
    keep = len(made.shape) == 3
    return GlobalAvgPool(
        **build.base(operator), multiplier=int(multiplier[0]), shift=int(shift[0]), keep=keep
    )


def _add(build: _Build, operator: Operator) -> Layer:
    sources = build.sources(operator)
    made = build.spanned(operator.output, max(s.scale for s in sources) / _RESCALE_MAX)
    build.tensors[operator.output] = made
    multipliers, shift = rescale_multipliers(tuple(s.scale / made.scale for s in sources))
    return Add(**build.base(operator), **build.clamps(operator), multipliers=multipliers, shift=shift)


def _concat(build: _Build, operator: Operator) -> Layer:
    sources = build.sources(operator)
    made = build.spanned(operator.output, max(s.scale for s in sources) / _RESCALE_MAX)
    build.tensors[operator.output] = made
    pairs = [rescale_multipliers((s.scale / made.scale,)) for s in sources]
    return Concat(
        **build.base(operator),
        **build.clamps(operator),
        axis=operator.attributes["axis"],
        multipliers=tuple(multipliers[0] for multipliers, _ in pairs),
        shifts=tuple(shift for _, shift in pairs),
    )


def _relu(build: _Build, operator: Operator) -> Layer:
    made = build.same(operator)
    low, high = clamp_range(operator.kind, made.scale, made.zero_point)
    return Clamp(**build.base(operator), low=low, high=high)


def _flatten(build: _Build, operator: Operator) -> Layer:
    build.same(operator)
    return Flatten(**build.base(operator))


RULES: Mapping[str, Rule] = {
    "conv": _conv,
    "linear": _linear,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_avg_pool,
    "add": _add,
    "concat": _concat,
    "relu": _relu,
    "relu6": _relu,
    "flatten": _flatten,
}
"""Operator kinds that have an integer kernel, and how each becomes a layer."""
