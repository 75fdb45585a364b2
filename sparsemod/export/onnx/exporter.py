"""ONNX, int8: QuantizeLinear and DequantizeLinear pairs around float operators, the form that ONNX Runtime and most tools expect.

Made from the integer network itself: its scales and zero points, its int8 weights per channel, its int32 biases. Input and output are
float32, (N, *input shape) and (N, classes), with a free N. The input is a normalized sample; the model's metadata hold the constants of the
normalization and the names of the classes (`sparsemod.export.metadata`). Runtimes rescale in float arithmetic where the integer network has
integer multipliers, so that a value at the edge between two quanta may fall to the other side: the report says how often and how far.

Sources: ONNX operator specification, opset 21; ONNX Runtime's documentation of quantized models ("QDQ format").
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import ToolsMissing
from sparsemod.export.compare import check_factors, compare, weight_scales
from sparsemod.export.exporters import refused
from sparsemod.export.metadata import metadata
from sparsemod.export.report import ExportReport, Verification
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, dequantize_values, quantize_values
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Clamp,
    Clamped,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Pool,
    Weighted,
)

KINDS = frozenset(
    layer.kind for layer in (Conv, Linear, MaxPool, AvgPool, GlobalAvgPool, Add, Concat, Clamp, Flatten)
)
OPSET, IR_VERSION = 21, 10
LIMIT = 2_000_000_000  # bytes of one protobuf message
_BATCH = 256
_LOWEST = float(np.finfo(np.float32).min)


def export(
    network: IntegerNetwork, folder: Path, *, name: str, samples: Any, labels: Any, data: str
) -> ExportReport:
    """Write NAME.onnx and run it in ONNX Runtime; see Exporter.export."""
    content = to_onnx(network, name)
    (folder / f"{name}.onnx").write_bytes(content)
    try:
        import onnxruntime
    except ImportError:
        missing = "onnxruntime, which runs the file to check it: pip install 'sparsemod[onnx]'"
        return ExportReport(format="onnx", name=name, missing=(missing,))

    def check(optimized: bool) -> Verification:
        session = _session(content, optimized)
        words = "" if optimized else ", graph optimizations off"
        runtime = f"onnxruntime {onnxruntime.__version__} (CPU{words})"
        options = {"samples": samples, "labels": labels, "data": data}
        return compare(network, lambda x: _run(network, session, x), runtime=runtime, **options)

    # As users run it, and without the fusions that replace pairs by integer kernels.
    checks = (check(True), check(False))
    return ExportReport(format="onnx", name=name, verifications=checks, detail={"opset": OPSET})


def to_onnx(network: IntegerNetwork, name: str = "network") -> bytes:
    """The content of the .onnx file; equal networks give equal bytes. Raises Unsupported, ToolsMissing."""
    try:
        from onnx import checker, helper
    except ImportError:
        raise ToolsMissing("the onnx export needs the package onnx: pip install 'sparsemod[onnx]'") from None
    graph = _Graph(network)
    float_type = graph.tensor_type(np.dtype(np.float32))
    shape, classes = network.input_shape, network.tensors[network.output].shape
    graph.quantized("input", network.input)
    for layer in network.layers:
        graph.layer(layer)
    graph.node("DequantizeLinear", [network.output + "/q", *graph.scale(network.output)], "output")
    made = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info("input", float_type, ["N", *shape])],
        [helper.make_tensor_value_info("output", float_type, ["N", *classes])],
        graph.initializers,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sparsemod",
        doc_string="int8 network; every scale, zero point, weight and bias is the integer network's",
    )
    helper.set_model_props(model, metadata(network))
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _session(content: bytes, optimized: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(network: IntegerNetwork, session: Any, x: NDArray[np.int8]) -> NDArray[np.int8]:
    given, made = network.tensors[network.input], network.tensors[network.output]
    parts = []
    for start in range(0, len(x), _BATCH):
        real = dequantize_values(x[start : start + _BATCH], given.scale, given.zero_point)
        (out,) = session.run(["output"], {"input": real})
        parts.append(quantize_values(out, made.scale, made.zero_point))
    return np.concatenate(parts)


class _Graph:
    """An ONNX graph under construction. Tensor `t` of the network is `t/q` as int8 and `t/f` as floats; `t/r` is a result before it is
    quantized."""

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
        """The names of a tensor's scale and zero point."""
        info = self.network.tensors[tensor]
        return [
            self.constant(f"{tensor}/scale", np.float32(info.scale)),
            self.constant(f"{tensor}/zero_point", np.int8(info.zero_point)),
        ]

    def quantized(self, real: str, tensor: str) -> None:
        """Quantize `real` as the network's `tensor`."""
        self.node("QuantizeLinear", [real, *self.scale(tensor)], f"{tensor}/q")

    def real(self, tensor: str) -> str:
        """The network's tensor as floats."""
        name = f"{tensor}/f"
        if name not in self._known:
            self._known.add(name)
            self.node("DequantizeLinear", [f"{tensor}/q", *self.scale(tensor)], name)
        return name

    def layer(self, layer: Layer) -> None:
        """The nodes of a layer."""
        check_factors(self.network, layer, "the onnx export")
        place = f"{layer.output}/r"
        if isinstance(layer, Flatten):
            self.node("Flatten", [f"{layer.inputs[0]}/q"], f"{layer.output}/q", axis=1)
            return
        x = [self.real(name) for name in layer.inputs]
        if isinstance(layer, Conv):
            real = self.node("Conv", [*x, *self._weights(layer)], place, **_geometry(layer))
        elif isinstance(layer, Linear):
            real = self.node("Gemm", [*x, *self._weights(layer)], place, transB=1)
        elif isinstance(layer, MaxPool | AvgPool):
            real = self._pool(layer, x[0], place)
        elif isinstance(layer, GlobalAvgPool):
            real = self.node("GlobalAveragePool", x, place)
            if not layer.keep:
                real = self.node("Flatten", [real], f"{layer.output}/v", axis=1)
        elif isinstance(layer, Add):
            real = self.node("Add", x, place)
        elif isinstance(layer, Concat):
            real = self.node("Concat", x, place, axis=layer.axis + 1)
        elif isinstance(layer, Clamp):
            real = x[0]
        else:
            raise refused("onnx", layer.kind, layer.name)
        if isinstance(layer, Clamped):
            real = self._clamped(layer, real)
        self.quantized(real, layer.output)

    def _weights(self, layer: Weighted) -> list[str]:
        name = layer.output
        scales = weight_scales(self.network, layer)
        dead = layer.multiplier == 0
        weight, bias = layer.weight.copy(), layer.bias.copy()
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

    def _clamped(self, layer: Clamped, real: str) -> str:
        """Relu where that is what the bounds are, Clip for others, nothing where saturation does it."""
        info = self.network.tensors[layer.output]
        if (layer.low, layer.high) == (INT8_MIN, INT8_MAX):
            return real
        if (layer.low, layer.high) == (info.zero_point, INT8_MAX):
            return self.node("Relu", [real], f"{layer.output}/relu")
        bounds = dequantize_values(np.array([layer.low, layer.high]), info.scale, info.zero_point)
        low = self.constant(f"{layer.output}/low", bounds[0]) if layer.low > INT8_MIN else ""
        high = self.constant(f"{layer.output}/high", bounds[1]) if layer.high < INT8_MAX else ""
        return self.node("Clip", [real, low, high], f"{layer.output}/clip")

    def _pool(self, layer: Pool, x: str, place: str) -> str:
        """Windows that reach over the edge get explicit padding: `ceil_mode` means different things to different runtimes."""
        info = self.network.tensors[layer.inputs[0]]
        extra = beyond(layer, info.shape)
        top, bottom, left, right = layer.padding
        pads = [top, left, bottom + extra[0], right + extra[1]]
        options: dict[str, Any] = {"kernel_shape": list(layer.kernel), "strides": list(layer.stride)}
        if isinstance(layer, AvgPool):
            if layer.count_padding and any(layer.padding):
                # Padding that counts is data: zeros. What `ceil` adds beyond it does not count.
                x = self._padded(layer, x, [top, left, bottom, right], 0.0)
                pads = [0, 0, *extra]
            return self.node("AveragePool", [x], place, pads=pads, count_include_pad=0, **options)
        if any(p >= k for p, k in zip(pads, (*layer.kernel, *layer.kernel), strict=True)):
            # Only with a dilation; ONNX Runtime wants less padding than the kernel has positions.
            x = self._padded(layer, x, pads, _LOWEST)
            pads = [0, 0, 0, 0]
        return self.node("MaxPool", [x], place, pads=pads, dilations=list(layer.dilation), **options)

    def _padded(self, layer: Pool, x: str, pads: list[int], value: float) -> str:
        amounts = np.array([0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]], np.int64)
        names = [
            self.constant(f"{layer.output}/pads", amounts),
            self.constant(f"{layer.output}/pad_value", np.float32(value)),
        ]
        return self.node("Pad", [x, *names], f"{layer.output}/padded")


def _geometry(layer: Conv) -> dict[str, Any]:
    top, bottom, left, right = layer.padding
    return {
        "kernel_shape": list(layer.weight.shape[2:]),
        "strides": list(layer.stride),
        "pads": [top, left, bottom, right],
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }


def beyond(layer: Pool, shape: tuple[int, ...]) -> list[int]:
    """Rows and columns by which the last window reaches beyond input and stated padding: `ceil` allows it."""
    made = layer.shape((shape,))
    return [
        max(
            0,
            (made[axis + 1] - 1) * layer.stride[axis]
            + layer.dilation[axis] * (layer.kernel[axis] - 1)
            + 1
            - shape[axis + 1]
            - sum(layer.padding[2 * axis : 2 * axis + 2]),
        )
        for axis in (0, 1)
    ]
