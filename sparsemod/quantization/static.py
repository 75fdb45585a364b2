"""Static int8 quantization of a deployed graph: one rule per kind of operator."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, Operator
from sparsemod.graph.joins import range_taker
from sparsemod.kinds import Stage
from sparsemod.quantization.arithmetic import (
    WEIGHT_MAX,
    activation_parameters,
    clamp_range,
    quantize_multiplier,
)
from sparsemod.quantization.calibration import Samples, calibrate
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer
from sparsemod.quantization.ranges import Range, RangeRule
from sparsemod.quantization.tensor import TensorInfo

Float64 = NDArray[np.float64]
_BIAS_MAX = 2.0**29  # leaves half of the 32-bit accumulator to the products
_RESULT_MAX = 2.0**30  # a requantized value before its clamp


def quantize_static(
    graph: Graph, samples: Samples, rule: RangeRule[Any] | None = None, lengths: Tensor | None = None
) -> IntegerNetwork:
    """Return the integer network of a deployed `graph`.

    Weights: int8 per output channel, symmetric (zero stays zero). Biases: int32. Activations: int8 per tensor, asymmetric, with
    the range that `rule` (None: min_max) computes from `samples` (see `calibrate`), of which for a graph with lengths the first
    `lengths` (N,) steps are valid.

    Raises Unsupported for an operator without an integer kernel, InvalidInput for weights or activations that are not finite.
    """
    rules = [RULES.rule(operator.kind, operator.name) for operator in graph.operators]
    ranges = _ranges_for_concat(graph, calibrate(graph, samples, rule, lengths))
    build = Build(graph, ranges)
    for name in graph.inputs:
        build.tensors[name] = build.samples(name) if name in graph.tensors.wide else build.spanned(name, 0.0)
    for operator, quantize in zip(graph.operators, rules, strict=True):
        build.layers.append(quantize(build, operator))
    return IntegerNetwork(
        graph.input, graph.output, build.tensors, tuple(build.layers), other_inputs=graph.other_inputs,
        other_outputs=graph.other_outputs, output_names=graph.output_names,
    )  # fmt: skip


def _ranges_for_concat(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Give a tensor that only a concat reads the concat's range, so that the concat can copy bytes."""
    ranges = dict(ranges)
    for operator in reversed(graph.operators):
        for name in operator.inputs if operator.traits.joins else ():
            taker = range_taker(graph, operator, name)
            if taker is not None:
                ranges[taker.output] = ranges[operator.output]
    return ranges


@dataclass
class Build:
    """A network under construction: the inputs of the rules, and the tensors that the rules create."""

    graph: Graph
    ranges: Mapping[str, Range]
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def spanned(self, name: str, least: float) -> TensorInfo:
        """Return the tensor with the scale of its range, or the scale `least` if that is larger."""
        scale, zero_point = activation_parameters(*self.ranges[name], least)
        return TensorInfo(self.graph.shapes[name], scale, zero_point, self.graph.layouts.get(name))

    def samples(self, name: str) -> TensorInfo:
        """Return the int16 tensor of an input. Its scale is a power of two.

        It is 2^-15, as of PCM samples in [-1, 1], for values that reach from 1/16 to 1; else the smallest one that fits the values.
        """
        largest = max(abs(bound) for bound in self.ranges[name])
        sound = 2.0**-4 <= largest <= 1 or largest < 2.0**-100
        scale = 2.0 ** ((0 if sound else math.ceil(math.log2(largest))) - 15)
        return TensorInfo(self.graph.shapes[name], scale, 0, self.graph.layouts.get(name), 16)

    def base(self, operator: Operator) -> dict[str, Any]:
        """Return the fields that every layer has."""
        return {"name": operator.name, "inputs": operator.inputs, "output": operator.output}

    def sources(self, operator: Operator) -> list[TensorInfo]:
        """Return the tensors that an operator reads."""
        return [self.tensors[name] for name in operator.inputs]

    def same(self, operator: Operator) -> TensorInfo:
        """Give the output its input's scale and zero point."""
        source = self.tensors[operator.inputs[0]]
        shape, layout = self.graph.shapes[operator.output], self.graph.layouts.get(operator.output)
        output = TensorInfo(shape, source.scale, source.zero_point, layout, source.bits)
        self.tensors[operator.output] = output
        return output

    def clamps(self, operator: Operator) -> dict[str, Any]:
        """Return the fields of a fused activation, for an output whose scale is known."""
        output = self.tensors[operator.output]
        low, high = clamp_range(operator.attributes.get("activation"), output.scale, output.zero_point)
        return {"low": low, "high": high}

    def weights(self, operator: Operator, weight: Float64, bias: Float64) -> dict[str, Any]:
        """Return the fields of a layer with weights, and set the scale of its output."""
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
        output = self.spanned(operator.output, float(np.where(empty, 0.0, reach).max()) / _RESULT_MAX)
        self.tensors[operator.output] = output
        # A channel without weights outputs its bias: in steps of the output its multiplier is 1.
        scale[empty] = np.float32(output.scale / source.scale)
        unit = source.scale * scale.astype(np.float64)
        multiplier, shift = quantize_multiplier(unit / output.scale)
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
        """A tensor of the graph's state."""
        return self.graph.state[key].detach().cpu().double().numpy()

    def weight_and_bias(self, operator: Operator) -> tuple[Float64, Float64]:
        """Return weight and bias; an absent bias is zeros."""
        if operator.weight is None:
            raise InvalidInput(f"operator {operator.name!r}.weight", None, "a key into the graph's state")
        weight = self.array(operator.weight)
        return weight, np.zeros(len(weight)) if operator.bias is None else self.array(operator.bias)


Rule = Callable[[Build, Operator], Layer]

RULES: Stage[Rule] = Stage("static quantization", builtin=("sparsemod.quantization @RULES",))
"""Rules that convert an operator to a layer: (build, operator) -> layer. Each rule stores the layer's output in `build.tensors`."""
