"""Shared by the tests of model files: small ONNX and TensorFlow Lite models, written node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def onnx_model(
    nodes: Sequence[Any],
    constants: dict[str, Array],
    shape: Sequence[int],
    output: Sequence[int | str | None] = ("n", None),
    opset: int = 17,
) -> bytes:
    """A model with the float input `x` (n, *shape) and the output `y`."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(output))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    """An operator; `inputs` are names separated by spaces."""
    return helper.make_node(kind, inputs.split(" "), [output], name=output, **attributes)


def small_cnn() -> bytes:
    """Convolutions with a residual sum, pooling, and a linear layer, for images (1, 8, 8)."""
    nodes = [
        node("Conv", "x w1 b1", "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=8),
        node("Add", "c2 r1", "a"),
        node("Relu", "a", "r2"),
        node("MaxPool", "r2", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "m w3 b3", "c3", kernel_shape=[1, 1]),
        node("Clip", "c3 zero six", "r3"),
        node("Flatten", "r3", "f"),
        node("Gemm", "f w4 b4", "y", transB=1),
    ]
    constants = {
        "w1": weights(8, 1, 3, 3), "b1": weights(8, seed=1), "w2": weights(8, 1, 3, 3, seed=2), "b2": weights(8, seed=3),
        "w3": weights(6, 8, 1, 1, seed=4), "b3": weights(6, seed=5), "w4": weights(5, 96, seed=6), "b4": weights(5, seed=7),
        "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    return onnx_model(
        nodes, {name: np.asarray(value) for name, value in constants.items()}, (1, 8, 8), ("n", 5)
    )


def run_onnx(content: bytes, x: Array) -> Array:
    """The output of a model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(found)


def quantized_onnx(content: bytes, x: Array, *, unsigned: bool, per_channel: bool, folder: Any) -> bytes:
    """The model as QDQ by onnxruntime.quantization, calibrated on `x`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"x": x}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(content)
    quantize_static(
        str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
        activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    found: bytes = target.read_bytes()
    return found


def float_tflite() -> bytes:
    """A float CNN for images (8, 8, 1), channels last: conv SAME with stride, depthwise, max pool, reshape, dense, softmax."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    model, graph = s.ModelT(), s.SubGraphT()
    model.version, model.buffers, graph.tensors, graph.operators, model.operatorCodes = (
        3,
        [s.BufferT()],
        [],
        [],
        [],
    )

    def tensor(name: str, shape: Sequence[int], data: Array | None = None) -> int:
        made = s.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        made.type = (
            s.TensorType.INT32 if data is not None and data.dtype == np.int32 else s.TensorType.FLOAT32
        )
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def constant(name: str, value: Array) -> int:
        return tensor(name, value.shape, value)

    def operator(kind: str, inputs: list[int], output: int, options: Any = None) -> int:
        code = s.OperatorCodeT()
        code.builtinCode = getattr(s.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        made = s.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(made)
        return output

    conv, depthwise, pool, dense = (
        s.Conv2DOptionsT(),
        s.DepthwiseConv2DOptionsT(),
        s.Pool2DOptionsT(),
        s.FullyConnectedOptionsT(),
    )
    relu, relu6 = s.ActivationFunctionType.RELU, s.ActivationFunctionType.RELU6
    conv.padding, conv.strideH, conv.strideW, conv.fusedActivationFunction = s.Padding.SAME, 2, 2, relu
    depthwise.padding, depthwise.strideH, depthwise.strideW = s.Padding.VALID, 1, 1
    depthwise.depthMultiplier, depthwise.fusedActivationFunction = 1, relu6
    pool.padding, pool.strideH, pool.strideW, pool.filterHeight, pool.filterWidth = s.Padding.SAME, 1, 1, 2, 2
    x = tensor("x", (1, 8, 8, 1))
    one = operator(
        "CONV_2D",
        [x, constant("w1", weights(6, 3, 3, 1)), constant("b1", weights(6))],
        tensor("c", (1, 4, 4, 6)),
        conv,
    )
    two = operator(
        "DEPTHWISE_CONV_2D", [one, constant("w2", weights(1, 3, 3, 6, seed=1)), constant("b2", weights(6, seed=2))],
        tensor("d", (1, 2, 2, 6)), depthwise,
    )  # fmt: skip
    three = operator("MAX_POOL_2D", [two], tensor("m", (1, 2, 2, 6)), pool)
    four = operator(
        "RESHAPE",
        [three, constant("shape", np.array([-1, 24], np.int32))],
        tensor("f", (1, 24)),
        s.ReshapeOptionsT(),
    )
    five = operator(
        "FULLY_CONNECTED",
        [four, constant("w3", weights(5, 24, seed=3)), constant("b3", weights(5, seed=4))],
        tensor("g", (1, 5)),
        dense,
    )
    soft = s.SoftmaxOptionsT()
    soft.beta = 1.0
    six = operator("SOFTMAX", [five], tensor("y", (1, 5)), soft)
    graph.inputs, graph.outputs, model.subgraphs = [x], [six], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def parsed(content: bytes) -> Any:
    """The model of a file, to change it."""
    return onnx.ModelProto.FromString(content)
