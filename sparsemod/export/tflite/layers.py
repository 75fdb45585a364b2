"""Conversion of an integer network's layers to TensorFlow Lite operators.

`<name>` in a model is the network's tensor of that name, channels last; constants and intermediate results have separate names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.compare import check_factors, weight_scales
from sparsemod.export.exporters import unsupported_layer
from sparsemod.export.metadata import metadata
from sparsemod.kinds import Stage
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, clamp_range
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Clamped, Layer, Weighted
from sparsemod.quantization.tensor import TensorInfo

VERSION = 3  # version of the schema
_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "PAD": 2,
    "PADV2": 2,
}
_VERSIONS |= {
    "ADD": 2,
    "CONCATENATION": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MAXIMUM": 2,
    "QUANTIZE": 2,
    "TRANSPOSE": 2,
    "SUB": 2,
    "MUL": 2,
    "LOGISTIC": 2,
    "TANH": 2,
    "SOFTMAX": 2,
    "GATHER": 2,
    "RESIZE_BILINEAR": 3,
    "L2_NORMALIZATION": 2,
    "LOG_SOFTMAX": 2,
    "BATCH_MATMUL": 2,
    "DEQUANTIZE": 2,
}


Shape = tuple[int, ...]


class Lowering:
    """Builds the model of one network; `schema` is LiteRT's generated module. `notes` are remarks for the user."""

    def __init__(self, network: IntegerNetwork, schema: Any) -> None:
        self.network, self.schema = network, schema
        self.buffers: list[Any] = [schema.BufferT()]  # the first buffer is empty: "no data"
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[str] = []
        self.index: dict[str, int] = {}
        self.notes: list[str] = []

    def model(self, name: str) -> Any:
        """Build the whole model, as LiteRT's ModelT. Raises Unsupported."""
        s, network = self.schema, self.network
        for given in network.inputs:
            info = network.tensors[given]
            self.tensor(given, spatial_last(info), info)
        for layer in network.layers:
            self.layer(layer)
        graph = s.SubGraphT()
        graph.name = name
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs = [self.index[name] for name in network.inputs]
        graph.outputs = [self.index[tensor] for tensor in network.outputs.values()]
        model = s.ModelT()
        model.version, model.description = VERSION, "int8 network, written by sparsemod"
        for key, value in metadata(network).items():
            entry, buffer = s.MetadataT(), s.BufferT()
            buffer.data = np.frombuffer(value.encode(), np.uint8)
            entry.name, entry.buffer = key, len(self.buffers)
            self.buffers.append(buffer)
            model.metadata = [*(model.metadata or []), entry]
        model.subgraphs, model.buffers = [graph], self.buffers
        if network.several:
            model.signatureDefs = [self._signature()]
        model.operatorCodes = [self._code(operator) for operator in self.codes]
        return model

    def _signature(self) -> Any:
        """Return the names of inputs and outputs, as LiteRT's signature runner uses them."""
        s = self.schema
        signature = s.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        maps: list[list[Any]] = []
        for names in ({name: name for name in self.network.inputs}, self.network.outputs):
            entries = []
            for name, tensor in names.items():
                entry = s.TensorMapT()
                entry.name, entry.tensorIndex = name, self.index[tensor]
                entries.append(entry)
            maps.append(entries)
        signature.inputs, signature.outputs = maps
        return signature

    def _code(self, operator: str) -> Any:
        code = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, operator)
        code.builtinCode = number
        code.deprecatedBuiltinCode = min(number, 127)
        code.version = _VERSIONS.get(operator, 1)
        return code

    # -- tensors

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        info: TensorInfo | None = None,
        data: Any = None,
        *,
        batch: bool = True,
    ) -> int:
        """Add a tensor; `shape` excludes the batch. With `data` it is a constant, whose shape has no batch."""
        s = self.schema
        tensor = s.TensorT()
        tensor.name, tensor.buffer = name, 0
        tensor.shape = [1, *shape] if data is None and batch else list(shape)
        kind = np.int8 if data is None else data.dtype
        types = {"int8": s.TensorType.INT8, "int32": s.TensorType.INT32, "float32": s.TensorType.FLOAT32}
        tensor.type = types[np.dtype(kind).name]
        if data is None:
            tensor.shapeSignature = [-1, *shape]
        else:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if info is not None:
            tensor.quantization = self.quantization(np.array([info.scale]), np.array([info.zero_point]))
        self.tensors.append(tensor)
        self.index[name] = len(self.tensors) - 1
        return self.index[name]

    def quantization(self, scale: NDArray[Any], zero_point: NDArray[Any], axis: int = 0) -> Any:
        """Return the quantization parameters: one scale and zero point, or one per channel along `axis`."""
        parameters = self.schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = scale.astype(np.float32), zero_point.astype(np.int64)
        parameters.quantizedDimension = axis
        return parameters

    def constant(self, name: str, values: Any, info: TensorInfo | None = None) -> int:
        """Add a constant tensor."""
        array = np.asarray(values)
        return self.tensor(name, array.shape, info, array)

    def operator(self, name: str, inputs: Sequence[int], output: int, options: Any = None) -> int:
        """Add an operator; `options` is its options object from the schema."""
        s = self.schema
        if name not in self.codes:
            self.codes.append(name)
        operator = s.OperatorT()
        operator.opcodeIndex = self.codes.index(name)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(operator)
        return output

    # -- layers

    def layer(self, layer: Layer) -> None:
        """Add the operators of one layer. Raises Unsupported."""
        if not RULES.has(layer.kind):
            raise unsupported_layer("tflite", layer.kind, layer.name)
        check_factors(self.network, layer, RULES.title)
        RULES.get(layer.kind)(self, layer, [self.index[name] for name in layer.inputs])

    def add_output(self, layer: Layer, suffix: str = "") -> int:
        """Add a layer's output tensor; with a suffix, the tensor of an intermediate step."""
        info = self.network.tensors[layer.output]
        return self.tensor(layer.output + suffix, spatial_last(info), info)

    def finish(self, layer: Clamped, operator: str, inputs: Sequence[int], options: Any) -> None:
        """Add an operator with its activation: fused if TensorFlow Lite has it, else as MAXIMUM and MINIMUM after the operator."""
        info, kinds = self.network.tensors[layer.output], self.schema.ActivationFunctionType
        for name, kind in ((None, kinds.NONE), ("relu", kinds.RELU), ("relu6", kinds.RELU6)):
            if (layer.low, layer.high) == clamp_range(name, info.scale, info.zero_point):
                options.fusedActivationFunction = kind
                self.operator(operator, inputs, self.add_output(layer), options)
                return
        options.fusedActivationFunction = kinds.NONE
        self.bounds(layer, self.operator(operator, inputs, self.add_output(layer, "/raw"), options))

    def bounds(self, layer: Clamped, x: int) -> None:
        """Add MAXIMUM, MINIMUM or both, as the layer's bounds require."""
        info = self.network.tensors[layer.output]
        candidates = [
            ("MAXIMUM", layer.low, layer.low > INT8_MIN),
            ("MINIMUM", layer.high, layer.high < INT8_MAX),
        ]
        steps = [(name, bound) for name, bound, needed in candidates if needed] or [("MAXIMUM", INT8_MIN)]
        for number, (name, bound) in enumerate(steps):
            limit = self.constant(f"{layer.output}/{name.lower()}", np.array([bound], np.int8), info)
            final = number == len(steps) - 1
            target = self.add_output(layer) if final else self.add_output(layer, "/bounded")
            x = self.operator(name, [x, limit], target, self.schema.MaximumMinimumOptionsT())

    def weights(self, layer: Weighted, values: NDArray[np.int8], axis: int) -> list[int]:
        """Add weights, in TensorFlow Lite's order with channels along `axis`, and biases."""
        scales = weight_scales(self.network, layer)
        dead = layer.multiplier == 0
        zeros = np.zeros(len(scales), np.int64)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        weight = self.constant(f"{layer.output}/weight", np.where(dead.reshape(shape), np.int8(0), values))
        self.tensors[weight].quantization = self.quantization(scales, zeros, axis)
        bias = self.constant(f"{layer.output}/bias", np.where(dead, np.int32(0), layer.bias))
        products = np.float64(self.network.tensors[layer.inputs[0]].scale) * scales
        self.tensors[bias].quantization = self.quantization(products, zeros)
        return [weight, bias]


Rule = Callable[[Lowering, Any, list[int]], None]

RULES: Stage[Rule] = Stage("the tflite export", builtin=("sparsemod.export.tflite @RULES",))
"""Rules by kind that add a layer's operators: (lowering, layer, its inputs' tensors)."""


def spatial_last(info: TensorInfo) -> Shape:
    """Return a tensor's shape in the file: (H, W, C) for an image, (1, L, C) for a sequence (C, L), unchanged for others."""
    axes = info.axes
    if axes.channel != 0 or not axes.positions:
        return info.shape
    channels, rows, columns = axes.image(info.shape)
    return rows, columns, channels


def file_axis(info: TensorInfo, axis: int) -> int:
    """Return the index of a tensor's axis in the file's shape, including the batch."""
    if info.axes.channel != 0 or not info.axes.positions:
        return axis + 1
    # (C, H, W) is stored as (N, H, W, C), and (C, L) as (N, 1, L, C).
    return 3 if axis == 0 else axis + 3 - info.axes.rank
