"""Conversion of an integer network's layers to ONNX nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.compare import check_factors, weight_scales
from sparsemod.export.exporters import unsupported_layer
from sparsemod.kinds import Stage
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, dequantize_values
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    AvgPool,
    Clamped,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    MaxPool,
    Pool,
    Reshape,
    Weighted,
)

_LOWEST = float(np.finfo(np.float32).min)


class OnnxGraph:
    """An ONNX graph under construction.

    Tensor `t` of the network is `t/q` as int8 and `t/f` as floats; `t/r` is the result before quantization."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._known: set[str] = set()

    def tensor_type(self, dtype: Any) -> int:
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(dtype))

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        if name not in self._known:
            self._known.add(name)
            self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def scale(self, tensor: str) -> list[str]:
        """Return the names of a tensor's scale and zero point."""
        info = self.network.tensors[tensor]
        return [
            self.constant(f"{tensor}/scale", np.float32(info.scale)),
            self.constant(f"{tensor}/zero_point", np.int8(info.zero_point)),
        ]

    def quantized(self, real: str, tensor: str) -> None:
        """Quantize `real` as the network's `tensor`."""
        self.node("QuantizeLinear", [real, *self.scale(tensor)], f"{tensor}/q")

    def real(self, tensor: str) -> str:
        """Return the network's tensor as floats."""
        name = f"{tensor}/f"
        if name not in self._known:
            self._known.add(name)
            self.node("DequantizeLinear", [f"{tensor}/q", *self.scale(tensor)], name)
        return name

    def positions(self, tensor: str) -> int:
        """Return the number of a tensor's position axes: 1 for a sequence, 2 for an image."""
        return len(self.network.tensors[tensor].axes.positions)

    def layer(self, layer: Layer) -> None:
        """Add the nodes of a layer. Raises Unsupported."""
        if not RULES.has(layer.kind):
            raise unsupported_layer("onnx", layer.kind, layer.name)
        check_factors(self.network, layer, RULES.title)
        real = RULES.get(layer.kind)(self, layer)
        if real is not None:
            self.quantized(self.clamped(layer, real) if isinstance(layer, Clamped) else real, layer.output)

    def weights(self, layer: Weighted, weight: NDArray[np.int8]) -> list[str]:
        """Add weights, in ONNX's shape, and biases as int8 and int32 constants, and return them dequantized to floats."""
        name = layer.output
        scales = weight_scales(self.network, layer)
        dead = layer.multiplier == 0
        weight, bias = weight.copy(), layer.bias.copy()
        weight[dead], bias[dead] = 0, 0
        scale = self.constant(f"{name}/weight_scale", scales)
        product = (np.float64(self.network.tensors[layer.inputs[0]].scale) * scales).astype(np.float32)
        bias_scale = self.constant(f"{name}/bias_scale", product)
        zeros = self.constant(f"{name}/weight_zero_point", np.zeros(len(weight), np.int8))
        bias_zeros = self.constant(f"{name}/bias_zero_point", np.zeros(len(weight), np.int32))
        return [
            self.node(
                "DequantizeLinear",
                [self.constant(f"{name}/weight_q", weight), scale, zeros],
                f"{name}/weight",
                axis=0,
            ),
            self.node(
                "DequantizeLinear",
                [self.constant(f"{name}/bias_q", bias), bias_scale, bias_zeros],
                f"{name}/bias",
                axis=0,
            ),
        ]

    def clamped(self, layer: Clamped, real: str) -> str:
        """Apply the layer's bounds: Relu if it matches them, nothing if saturation suffices, else Clip."""
        info = self.network.tensors[layer.output]
        if (layer.low, layer.high) == (INT8_MIN, INT8_MAX):
            return real
        if (layer.low, layer.high) == (info.zero_point, INT8_MAX):
            return self.node("Relu", [real], f"{layer.output}/relu")
        bounds = dequantize_values(np.array([layer.low, layer.high]), info.scale, info.zero_point)
        low = self.constant(f"{layer.output}/low", bounds[0]) if layer.low > INT8_MIN else ""
        high = self.constant(f"{layer.output}/high", bounds[1]) if layer.high < INT8_MAX else ""
        return self.node("Clip", [real, low, high], f"{layer.output}/clip")


Rule = Callable[[OnnxGraph, Any], str | None]

RULES: Stage[Rule] = Stage("the onnx export", builtin=("sparsemod.export.onnx @RULES",))
"""Rules by kind: (graph, layer) -> the name of the layer's real result before clamp and quantization.

A rule returns None if it adds the int8 tensor itself."""


@RULES.register("conv")
def _conv(graph: OnnxGraph, layer: Conv) -> str:
    count, window = graph.positions(layer.inputs[0]), layer.window
    top, bottom, left, right = window.padding
    weight = layer.weight if count == 2 else layer.weight[:, :, 0]
    return graph.node(
        "Conv", [graph.real(layer.inputs[0]), *graph.weights(layer, weight)], f"{layer.output}/r",
        kernel_shape=list(window.kernel)[-count:], strides=list(window.stride)[-count:],
        pads=[*(top, left)[-count:], *(bottom, right)[-count:]],
        dilations=list(window.dilation)[-count:], group=window.groups,
    )  # fmt: skip


@RULES.register("linear")
def _linear(graph: OnnxGraph, layer: Weighted) -> str:
    inputs = [graph.real(layer.inputs[0]), *graph.weights(layer, layer.weight)]
    return graph.node("Gemm", inputs, f"{layer.output}/r", transB=1)


@RULES.register("max_pool")
def _max_pool(graph: OnnxGraph, layer: MaxPool) -> str:
    """Add a max pool, with explicit padding where windows reach over the edge: runtimes interpret `ceil_mode` differently."""
    x, options, pads = _pooled(graph, layer)
    half = len(pads) // 2
    if any(pad >= size for pad, size in zip(pads, 2 * options["kernel_shape"], strict=True)):
        # Only with a dilation; ONNX Runtime requires the padding to be smaller than the kernel.
        x, pads = _padded(graph, layer, x, pads, _LOWEST), [0] * len(pads)
    dilations = list(layer.dilation)[-half:]
    return graph.node("MaxPool", [x], f"{layer.output}/r", pads=pads, dilations=dilations, **options)


@RULES.register("avg_pool")
def _avg_pool(graph: OnnxGraph, layer: AvgPool) -> str:
    x, options, pads = _pooled(graph, layer)
    if layer.count_padding and any(layer.padding):
        # Counted padding is data: zeros. The padding that `ceil` adds beyond it does not count.
        half = len(pads) // 2
        extra = list(_beyond(graph, layer))[-half:]
        counted = [*pads[:half], *(pad - more for pad, more in zip(pads[half:], extra, strict=True))]
        x, pads = _padded(graph, layer, x, counted, 0.0), [0] * half + extra
    return graph.node("AveragePool", [x], f"{layer.output}/r", pads=pads, count_include_pad=0, **options)


def _pooled(graph: OnnxGraph, layer: Pool) -> tuple[str, dict[str, Any], list[int]]:
    """Return (input, options, padding including the part that `ceil` adds)."""
    count, extra = graph.positions(layer.inputs[0]), _beyond(graph, layer)
    top, bottom, left, right = layer.padding
    pads = [*(top, left)[-count:], *(bottom + extra[0], right + extra[1])[-count:]]
    options = {"kernel_shape": list(layer.kernel)[-count:], "strides": list(layer.stride)[-count:]}
    return graph.real(layer.inputs[0]), options, pads


def _beyond(graph: OnnxGraph, layer: Pool) -> tuple[int, int]:
    _, rows, columns = graph.network.named.image(layer.inputs[0])
    return layer.window.beyond((rows, columns))


def _padded(graph: OnnxGraph, layer: Pool, x: str, pads: list[int], value: float) -> str:
    half = len(pads) // 2
    amounts = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
    names = [
        graph.constant(f"{layer.output}/pads", amounts),
        graph.constant(f"{layer.output}/pad_value", np.float32(value)),
    ]
    return graph.node("Pad", [x, *names], f"{layer.output}/padded")


@RULES.register("global_avg_pool")
def _mean(graph: OnnxGraph, layer: GlobalAvgPool) -> str:
    real = graph.node("GlobalAveragePool", [graph.real(layer.inputs[0])], f"{layer.output}/r")
    return real if layer.keep else graph.node("Flatten", [real], f"{layer.output}/v", axis=1)


@RULES.register("add")
def _add(graph: OnnxGraph, layer: Layer) -> str:
    return graph.node("Add", [graph.real(name) for name in layer.inputs], f"{layer.output}/r")


@RULES.register("concat")
def _concat(graph: OnnxGraph, layer: Concat) -> str:
    inputs = [graph.real(name) for name in layer.inputs]
    return graph.node("Concat", inputs, f"{layer.output}/r", axis=layer.axis + 1)


@RULES.register("clamp")
def _clamp(graph: OnnxGraph, layer: Layer) -> str:
    return graph.real(layer.inputs[0])


@RULES.register("flatten")
def _flatten(graph: OnnxGraph, layer: Flatten) -> None:
    graph.node("Flatten", [f"{layer.inputs[0]}/q"], f"{layer.output}/q", axis=1)


@RULES.register("reshape")
def _reshape(graph: OnnxGraph, layer: Reshape) -> None:
    shape = graph.constant(f"{layer.output}/shape", np.array([-1, *layer.made_shape], np.int64))
    graph.node("Reshape", [f"{layer.inputs[0]}/q", shape], f"{layer.output}/q")


@RULES.register("transpose")
def _transpose(graph: OnnxGraph, layer: Layer) -> None:
    graph.node("Transpose", [f"{layer.inputs[0]}/q"], f"{layer.output}/q", perm=[0, 2, 1])
