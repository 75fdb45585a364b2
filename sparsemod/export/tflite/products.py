"""Normalizations of groups, products of matrices, and constants for each element as operators of TensorFlow Lite.

TensorFlow Lite has no int8 operators for means and variances of groups: these compute with floats between DEQUANTIZE and QUANTIZE.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.tflite.layers import RULES, Lowering, file_axis, spatial_last
from sparsemod.export.tflite.operators import elements_of
from sparsemod.quantization.layers.normalizing import GroupNorm, LogSoftmax
from sparsemod.quantization.layers.products import MatMul, Offset
from sparsemod.quantization.tensor import TensorInfo

Shape = tuple[int, ...]


@RULES.register("log_softmax")
def _log_softmax(lowering: Lowering, layer: LogSoftmax, inputs: list[int]) -> None:
    lowering.operator("LOG_SOFTMAX", inputs, lowering.add_output(layer), lowering.schema.LogSoftmaxOptionsT())


@RULES.register("offset")
def _offset(lowering: Lowering, layer: Offset, inputs: list[int]) -> None:
    made = lowering.network.tensors[layer.output]
    info = TensorInfo(made.shape, layer.values_scale, 0, made.layout)
    values = made.to_memory(layer.values[None])[0].reshape(1, *spatial_last(made))
    constant = lowering.constant(f"{layer.output}/values", values, info)
    lowering.finish(layer, "ADD", [inputs[0], constant], lowering.schema.AddOptionsT())


class _Floats:
    """Operators on float tensors, between one layer's input and output."""

    def __init__(self, lowering: Lowering, name: str) -> None:
        self.lowering, self.name, self.count = lowering, name, 0

    def _tensor(self, shape: Shape) -> int:
        self.count += 1
        index = self.lowering.tensor(f"{self.name}/float{self.count}", shape)
        self.lowering.tensors[index].type = self.lowering.schema.TensorType.FLOAT32
        return index

    def add(self, operator: str, inputs: list[int], shape: Shape, options: Any = None) -> int:
        return self.lowering.operator(operator, inputs, self._tensor(shape), options)

    def constant(self, values: NDArray[np.float32]) -> int:
        self.count += 1
        return self.lowering.constant(f"{self.name}/float{self.count}", values)

    def mean(self, x: int, axes: list[int], shape: Shape) -> int:
        self.count += 1
        options = self.lowering.schema.ReducerOptionsT()
        options.keepDims = True
        along = self.lowering.constant(f"{self.name}/axes{self.count}", np.array(axes, np.int32))
        return self.add("MEAN", [x, along], shape, options)

    def reshaped(self, x: int, shape: Shape) -> int:
        self.count += 1
        options = self.lowering.schema.ReshapeOptionsT()
        options.newShape = [-1, *shape]
        wanted = self.lowering.constant(f"{self.name}/shape{self.count}", np.array([-1, *shape], np.int32))
        return self.add("RESHAPE", [x, wanted], shape, options)


@RULES.register("group_norm")
def _group_norm(lowering: Lowering, layer: GroupNorm, inputs: list[int]) -> None:
    s, source, made = (
        lowering.schema,
        *(lowering.network.tensors[name] for name in (layer.inputs[0], layer.output)),
    )
    floats, shape = _Floats(lowering, layer.output), spatial_last(source)
    axis = file_axis(source, layer.axis) - 1
    split = (*shape[:axis], layer.groups, shape[axis] // layer.groups, *shape[axis + 1 :])
    axes = [axis + 2] + (
        [i + 1 for i in range(len(split)) if i not in (axis, axis + 1)] if layer.whole else []
    )
    small = tuple(1 if i + 1 in axes else size for i, size in enumerate(split))
    x = floats.reshaped(floats.add("DEQUANTIZE", [inputs[0]], shape), split)
    mean = floats.mean(x, sorted(axes), small)
    centred = floats.add("SUB", [x, mean], split, s.SubOptionsT())
    variance = floats.mean(floats.add("MUL", [centred, centred], split, s.MulOptionsT()), sorted(axes), small)
    epsilon = floats.constant(np.array([layer.real_epsilon(source.shape, source.scale)], np.float32))
    inverse = floats.add("RSQRT", [floats.add("ADD", [variance, epsilon], small, s.AddOptionsT())], small)
    normal = floats.reshaped(floats.add("MUL", [centred, inverse], split, s.MulOptionsT()), shape)
    weight, bias = layer.real_affine(made.scale)
    sizes = [-1 if i == axis else 1 for i in range(len(shape))]
    scaled = floats.add("MUL", [normal, floats.constant(weight.reshape(1, *sizes))], shape, s.MulOptionsT())
    moved = floats.add("ADD", [scaled, floats.constant(bias.reshape(1, *sizes))], shape, s.AddOptionsT())
    plain = (layer.low, layer.high) == (-128, 127)
    result = lowering.operator(
        "QUANTIZE", [moved], lowering.add_output(layer, "" if plain else "/raw"), s.QuantizeOptionsT()
    )
    if not plain:
        lowering.bounds(layer, result)


@RULES.register("matmul")
def _matmul(lowering: Lowering, layer: MatMul, inputs: list[int]) -> None:
    """Add BATCH_MATMUL of copies of both sides. TensorFlow Lite's product has no factor: the second side's scale holds it."""
    s, name, made = lowering.schema, layer.output, lowering.network.tensors[layer.output]
    sides = []
    for word, tensor, x, order, factor in zip(
        ("first", "second"), layer.inputs, inputs, ((0, 1, 2), (0, 2, 1)), (1.0, layer.factor), strict=True
    ):
        source, index = lowering.network.tensors[tensor], layer.index(word).transpose(order)
        scaled = TensorInfo(
            source.shape, float(np.float32(source.scale * factor)), source.zero_point, source.layout
        )
        sides.append(elements_of(lowering, f"{name}/{word}", x, source, index, scaled))
    products, rows, columns = layer.products, layer.rows, layer.columns
    product = lowering.tensor(f"{name}/product", (products, rows, columns), made)
    lowering.operator("BATCH_MATMUL", sides, product, s.BatchMatMulOptionsT())
    turn = lowering.constant(f"{name}/order", np.array([0, 2, 1, 3], np.int32))
    turned = lowering.tensor(f"{name}/turned", (rows, products, columns), made)
    lowering.operator("TRANSPOSE", [product, turn], turned, s.TransposeOptionsT())
    options = s.ReshapeOptionsT()
    options.newShape = [-1, rows, products * columns]
    wanted = lowering.constant(f"{name}/shape", np.array(options.newShape, np.int32))
    lowering.operator("RESHAPE", [turned, wanted], lowering.add_output(layer), options)
