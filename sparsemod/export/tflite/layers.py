"""The layers of an integer network as operators of TensorFlow Lite.

`<name>` in a model is the network's tensor of that name, channels last; constants and steps in between have names of their own.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.compare import check_factors, weight_scales
from sparsemod.export.exporters import refused
from sparsemod.export.metadata import metadata
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, clamp_range
from sparsemod.quantization.integer_network import IntegerNetwork, TensorInfo
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
    Shape,
)

KINDS = frozenset(
    layer.kind for layer in (Conv, Linear, MaxPool, AvgPool, GlobalAvgPool, Add, Concat, Clamp, Flatten)
)
VERSION = 3  # of the schema
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
}


class Lowering:
    """Builds the model of one network; `schema` is LiteRT's generated module."""

    def __init__(self, network: IntegerNetwork, schema: Any) -> None:
        self.network, self.schema = network, schema
        self.buffers: list[Any] = [schema.BufferT()]  # the first one is empty: "no data"
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[str] = []
        self.index: dict[str, int] = {}

    def model(self, name: str) -> Any:
        """The whole model, as LiteRT's ModelT. Raises Unsupported."""
        s, network = self.schema, self.network
        self.tensor(network.input, spatial_last(network.input_shape), network.tensors[network.input])
        for layer in network.layers:
            self.layer(layer)
        graph = s.SubGraphT()
        graph.name = name
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [self.index[network.input]], [self.index[network.output]]
        model = s.ModelT()
        model.version, model.description = VERSION, "int8 network, written by sparsemod"
        for key, value in metadata(network).items():
            entry, buffer = s.MetadataT(), s.BufferT()
            buffer.data = np.frombuffer(value.encode(), np.uint8)
            entry.name, entry.buffer = key, len(self.buffers)
            self.buffers.append(buffer)
            model.metadata = [*(model.metadata or []), entry]
        model.subgraphs, model.buffers = [graph], self.buffers
        model.operatorCodes = [self._code(operator) for operator in self.codes]
        return model

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
        """A tensor of the model; `shape` without the batch. `data` makes it a constant, whose shape has none."""
        s = self.schema
        made = s.TensorT()
        made.name, made.buffer = name, 0
        made.shape = [1, *shape] if data is None and batch else list(shape)
        kind = np.int8 if data is None else data.dtype
        made.type = {np.dtype(np.int8): s.TensorType.INT8, np.dtype(np.int32): s.TensorType.INT32}[
            np.dtype(kind)
        ]
        if data is None:
            made.shapeSignature = [-1, *shape]
        else:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        if info is not None:
            made.quantization = self.quantization(np.array([info.scale]), np.array([info.zero_point]))
        self.tensors.append(made)
        self.index[name] = len(self.tensors) - 1
        return self.index[name]

    def quantization(self, scale: NDArray[Any], zero_point: NDArray[Any], axis: int = 0) -> Any:
        """Scales and zero points, one or one per channel along `axis`."""
        found = self.schema.QuantizationParametersT()
        found.scale, found.zeroPoint = scale.astype(np.float32), zero_point.astype(np.int64)
        found.quantizedDimension = axis
        return found

    def constant(self, name: str, values: Any, info: TensorInfo | None = None) -> int:
        """A constant tensor."""
        array = np.asarray(values)
        return self.tensor(name, array.shape, info, array)

    def operator(self, name: str, inputs: Sequence[int], output: int, options: Any = None) -> int:
        """An operator; `options` is the schema's object for it."""
        s = self.schema
        if name not in self.codes:
            self.codes.append(name)
        made = s.OperatorT()
        made.opcodeIndex = self.codes.index(name)
        made.inputs, made.outputs = list(inputs), [output]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(made)
        return output

    # -- layers

    def layer(self, layer: Layer) -> None:
        """The operators of one layer."""
        check_factors(self.network, layer, "the tflite export")
        x = [self.index[name] for name in layer.inputs]
        if isinstance(layer, Conv):
            self._conv(layer, x[0])
        elif isinstance(layer, Linear):
            self._linear(layer, x[0])
        elif isinstance(layer, MaxPool | AvgPool):
            self._pool(layer, x[0])
        elif isinstance(layer, GlobalAvgPool):
            options = self.schema.ReducerOptionsT()
            options.keepDims = layer.keep
            axes = self.constant(f"{layer.output}/axes", np.array([1, 2], np.int32))
            self.operator("MEAN", [x[0], axes], self._made(layer), options)
        elif isinstance(layer, Add):
            options = self.schema.AddOptionsT()
            self._finish(layer, "ADD", x, options)
        elif isinstance(layer, Concat):
            self._concat(layer, x)
        elif isinstance(layer, Clamp):
            self._bounds(layer, x[0])
        elif isinstance(layer, Flatten):
            self._flatten(layer, x[0])
        else:
            raise refused("tflite", layer.kind, layer.name)

    def _made(self, layer: Layer, suffix: str = "") -> int:
        info = self.network.tensors[layer.output]
        return self.tensor(layer.output + suffix, spatial_last(info.shape), info)

    def _finish(self, layer: Clamped, operator: str, inputs: Sequence[int], options: Any) -> None:
        """The operator with its activation: fused where TensorFlow Lite has a name for it, else MAXIMUM and MINIMUM after it."""
        info, kinds = self.network.tensors[layer.output], self.schema.ActivationFunctionType
        for name, kind in ((None, kinds.NONE), ("relu", kinds.RELU), ("relu6", kinds.RELU6)):
            if (layer.low, layer.high) == clamp_range(name, info.scale, info.zero_point):
                options.fusedActivationFunction = kind
                self.operator(operator, inputs, self._made(layer), options)
                return
        options.fusedActivationFunction = kinds.NONE
        self._bounds(layer, self.operator(operator, inputs, self._made(layer, "/raw"), options))

    def _bounds(self, layer: Clamped, x: int) -> None:
        info = self.network.tensors[layer.output]
        wanted = [
            ("MAXIMUM", layer.low, layer.low > INT8_MIN),
            ("MINIMUM", layer.high, layer.high < INT8_MAX),
        ]
        steps = [(name, bound) for name, bound, needed in wanted if needed] or [("MAXIMUM", INT8_MIN)]
        for number, (name, bound) in enumerate(steps):
            limit = self.constant(f"{layer.output}/{name.lower()}", np.array([bound], np.int8), info)
            final = number == len(steps) - 1
            made = self._made(layer) if final else self._made(layer, "/bounded")
            x = self.operator(name, [x, limit], made, self.schema.MaximumMinimumOptionsT())

    def _weights(self, layer: Conv | Linear, values: NDArray[np.int8], axis: int) -> list[int]:
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

    def _conv(self, layer: Conv, x: int) -> None:
        s = self.schema
        shape, kernel = self.network.tensors[layer.inputs[0]].shape, layer.weight.shape[2:]
        x, padding = self._padding(layer, x, shape, (kernel[0], kernel[1]), (0, 0))
        options = s.DepthwiseConv2DOptionsT() if layer.depthwise else s.Conv2DOptionsT()
        if layer.depthwise:
            options.depthMultiplier = len(layer.weight) // shape[0]
            values, axis = layer.weight.transpose(1, 2, 3, 0), 3
        else:
            values, axis = layer.weight.transpose(0, 2, 3, 1), 0
        options.padding = padding
        options.strideH, options.strideW = layer.stride
        options.dilationHFactor, options.dilationWFactor = layer.dilation
        operator = "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
        self._finish(layer, operator, [x, *self._weights(layer, values, axis)], options)

    def _linear(self, layer: Linear, x: int) -> None:
        options = self.schema.FullyConnectedOptionsT()
        options.keepNumDims = False
        weight = layer.weight
        shape = self._flattened(layer.inputs[0])
        if shape is not None:  # its input lies channels last: so must its columns
            weight = weight.reshape(len(weight), *shape).transpose(0, 2, 3, 1).reshape(weight.shape)
        self._finish(layer, "FULLY_CONNECTED", [x, *self._weights(layer, weight, 0)], options)

    def _flattened(self, tensor: str) -> Shape | None:
        """The (C, H, W) of a flattened tensor that only linear layers read and that keeps the order of channels last; None for others."""
        made = [layer for layer in self.network.layers if layer.output == tensor]
        readers = [layer for layer in self.network.layers if tensor in layer.inputs]
        if not made or not isinstance(made[0], Flatten) or tensor == self.network.output:
            return None
        shape = self.network.tensors[made[0].inputs[0]].shape
        return shape if len(shape) == 3 and all(isinstance(reader, Linear) for reader in readers) else None

    def _flatten(self, layer: Flatten, x: int) -> None:
        source = self.network.tensors[layer.inputs[0]]
        moves = len(source.shape) == 3 and source.shape[0] > 1 and math.prod(source.shape[1:]) > 1
        if moves and self._flattened(layer.output) is None:
            order = self.constant(f"{layer.output}/order", np.array([0, 3, 1, 2], np.int32))
            made = self.tensor(f"{layer.output}/first", source.shape, source)
            x = self.operator("TRANSPOSE", [x, order], made, self.schema.TransposeOptionsT())
        options = self.schema.ReshapeOptionsT()
        options.newShape = [-1, math.prod(source.shape)]
        shape = self.constant(f"{layer.output}/shape", np.array(options.newShape, np.int32))
        self.operator("RESHAPE", [x, shape], self._made(layer), options)

    def _concat(self, layer: Concat, inputs: Sequence[int]) -> None:
        """Inputs with another scale than the output's are quantized anew first: TensorFlow Lite only copies."""
        made, parts = self.network.tensors[layer.output], []
        for number, (name, x) in enumerate(zip(layer.inputs, inputs, strict=True)):
            source = self.network.tensors[name]
            if (source.scale, source.zero_point) != (made.scale, made.zero_point):
                info = TensorInfo(source.shape, made.scale, made.zero_point)
                same = self.tensor(f"{layer.output}/part{number}", spatial_last(source.shape), info)
                x = self.operator("QUANTIZE", [x], same, self.schema.QuantizeOptionsT())
            parts.append(x)
        options = self.schema.ConcatenationOptionsT()
        options.axis = (3, 1, 2)[layer.axis] if len(made.shape) == 3 else layer.axis + 1
        if (layer.low, layer.high) == (INT8_MIN, INT8_MAX):
            self.operator("CONCATENATION", parts, self._made(layer), options)
        else:
            self._bounds(layer, self.operator("CONCATENATION", parts, self._made(layer, "/raw"), options))

    def _pool(self, layer: MaxPool | AvgPool, x: int) -> None:
        s = self.schema
        if layer.dilation != (1, 1):
            raise refused("tflite", f"{layer.kind} with dilation {layer.dilation}", layer.name, layer.kind)
        shape = self.network.tensors[layer.inputs[0]].shape
        extra = reach(layer, shape)
        average = isinstance(layer, AvgPool)
        counted = isinstance(layer, AvgPool) and layer.count_padding
        padded = any(layer.padding) or any(extra)
        # SAME leaves padding out of means, so that padding that counts must be an operator of its own.
        if counted and any(layer.padding) and any(extra):
            what = f"{layer.kind} that counts padding, with windows that reach beyond it"
            raise refused("tflite", what, layer.name, layer.kind)
        if average and padded and not (counted and any(layer.padding)):
            if not self._is_same(layer, shape, layer.kernel, extra):
                what = f"{layer.kind} with padding {layer.padding} that does not count"
                raise refused("tflite", what, layer.name, layer.kind)
            padding = s.Padding.SAME
        else:
            x, padding = self._padding(layer, x, shape, layer.kernel, extra, force=average and padded)
        options = s.Pool2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = layer.stride
        options.filterHeight, options.filterWidth = layer.kernel
        operator = "AVERAGE_POOL_2D" if average else "MAX_POOL_2D"
        self.operator(operator, [x], self._made(layer), options)

    def _is_same(
        self, layer: Conv | Pool, shape: Shape, kernel: tuple[int, int], extra: tuple[int, int]
    ) -> bool:
        """Whether the layer's padding is what TensorFlow Lite calls SAME."""
        made = layer.shape((shape,))
        for axis in (0, 1):
            size, stride, dilation = shape[axis + 1], layer.stride[axis], layer.dilation[axis]
            count = -(-size // stride)
            total = max(0, (count - 1) * stride + dilation * (kernel[axis] - 1) + 1 - size)
            before = layer.padding[2 * axis]
            # What lies beyond the last window is never read: only its begin and their number decide.
            if (
                made[axis + 1] != count
                or before != total // 2
                or sum(layer.padding[2 * axis : 2 * axis + 2]) + extra[axis] < total
            ):
                return False
        return True

    def _padding(
        self,
        layer: Conv | MaxPool | AvgPool,
        x: int,
        shape: Shape,
        kernel: tuple[int, int],
        extra: tuple[int, int],
        *,
        force: bool = False,
    ) -> tuple[int, int]:
        """(input, SAME or VALID): what neither expresses becomes a PAD operator. `force`: always the operator."""
        s = self.schema
        top, bottom, left, right = layer.padding
        if not any(layer.padding) and not any(extra):
            return x, s.Padding.VALID
        if not force and self._is_same(layer, shape, kernel, extra):
            return x, s.Padding.SAME
        info = self.network.tensors[layer.inputs[0]]
        amounts = np.array([[0, 0], [top, bottom + extra[0]], [left, right + extra[1]], [0, 0]], np.int32)
        grown = (shape[1] + top + bottom + extra[0], shape[2] + left + right + extra[1], shape[0])
        made = self.tensor(f"{layer.output}/padded", grown, info)
        inputs = [x, self.constant(f"{layer.output}/pads", amounts)]
        if isinstance(layer, MaxPool):
            inputs.append(self.constant(f"{layer.output}/pad_value", np.array([INT8_MIN], np.int8), info))
            self.operator("PADV2", inputs, made, s.PadV2OptionsT())
        else:
            self.operator("PAD", inputs, made, s.PadOptionsT())
        return made, s.Padding.VALID


def spatial_last(shape: Shape) -> tuple[int, ...]:
    """(C, H, W) as (H, W, C); other shapes stay."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def reach(layer: Pool, shape: Shape) -> tuple[int, int]:
    """Rows and columns by which the last window reaches beyond input and stated padding."""
    made = layer.shape((shape,))

    def along(axis: int) -> int:
        end = (made[axis + 1] - 1) * layer.stride[axis] + layer.dilation[axis] * (layer.kernel[axis] - 1) + 1
        return max(0, end - shape[axis + 1] - sum(layer.padding[2 * axis : 2 * axis + 2]))

    return along(0), along(1)
