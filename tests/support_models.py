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
    """An operator; `inputs` and `output` are names separated by spaces."""
    return helper.make_node(kind, inputs.split(" "), output.split(" "), name=output, **attributes)


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


class TfliteModel:
    """A TensorFlow Lite model under construction, operator by operator."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self.model, self.graph = self.schema.ModelT(), self.schema.SubGraphT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [self.schema.BufferT()], []
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self, name: str, shape: Sequence[int], data: Array | None = None, variable: bool = False
    ) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer, made.isVariable = name, list(shape), 0, variable
        made.type = (
            self.schema.TensorType.INT32
            if data is not None and data.dtype == np.int32
            else self.schema.TensorType.FLOAT32
        )
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, value: Array) -> int:
        return self.tensor(name, value.shape, value)

    def operator(self, kind: str, inputs: list[int], output: int, options: Any = None) -> int:
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        self.model.operatorCodes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(
                self.schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        self.graph.operators.append(made)
        return output

    def finish(self, given: int, output: int) -> bytes:
        import flatbuffers

        self.graph.inputs, self.graph.outputs, self.model.subgraphs = [given], [output], [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def float_tflite() -> bytes:
    """A float CNN for images (8, 8, 1), channels last: conv SAME with stride, depthwise, max pool, reshape, dense, softmax."""
    made = TfliteModel()
    s, tensor, constant, operator = made.schema, made.tensor, made.constant, made.operator
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
    return made.finish(x, six)


def lstm_tflite(units: int = 5, features: int = 3, steps: int = 6) -> bytes:
    """A float LSTM over samples (steps, features), and a dense layer on its steps in a row."""
    made = TfliteModel()
    x = made.tensor("x", (1, steps, features))
    inputs = [made.constant(f"i{gate}", weights(units, features, seed=gate)) for gate in range(4)]
    hidden = [made.constant(f"h{gate}", weights(units, units, seed=10 + gate)) for gate in range(4)]
    biases = [made.constant(f"b{gate}", weights(units, seed=20 + gate)) for gate in range(4)]
    states = [made.tensor(name, (1, units), variable=True) for name in ("state", "cell")]
    options = made.schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = made.schema.ActivationFunctionType.TANH
    none = [-1, -1, -1]
    all_inputs = [x, *inputs, *hidden, *none, *biases, -1, -1, *states]
    one = made.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", all_inputs, made.tensor("l", (1, steps, units)), options
    )
    shape = made.constant("shape", np.array([1, steps * units], np.int32))
    two = made.operator(
        "RESHAPE", [one, shape], made.tensor("f", (1, steps * units)), made.schema.ReshapeOptionsT()
    )
    dense = made.schema.FullyConnectedOptionsT()
    given = [
        two,
        made.constant("w", weights(4, steps * units, seed=30)),
        made.constant("b", weights(4, seed=31)),
    ]
    return made.finish(x, made.operator("FULLY_CONNECTED", given, made.tensor("y", (1, 4)), dense))


def parsed(content: bytes) -> Any:
    """The model of a file, to change it."""
    return onnx.ModelProto.FromString(content)
