"""Layers that move or join values as operators of TensorFlow Lite."""

import math

import numpy as np

from sparsemod.export.tflite.layers import RULES, Lowering, file_axis, spatial_last
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN
from sparsemod.quantization.layers import Concat, Flatten, Layer, Reshape
from sparsemod.quantization.tensor import TensorInfo

Shape = tuple[int, ...]


def flattened(lowering: Lowering, tensor: str) -> Shape | None:
    """Return the image (C, H, W) of a flattened tensor that stays channels last because its readers accept any order; else None."""
    network = lowering.network
    made = next((layer for layer in network.layers if layer.output == tensor), None)
    readers = [layer for layer in network.layers if tensor in layer.inputs]
    if made is None or not made.traits.view or tensor == network.output:
        return None
    moves = network.named.moves(made.inputs[0])
    return network.named.image(made.inputs[0]) if moves and all(r.traits.any_order for r in readers) else None


@RULES.register("flatten")
def _flatten(lowering: Lowering, layer: Flatten, inputs: list[int]) -> None:
    source, x = lowering.network.tensors[layer.inputs[0]], inputs[0]
    if source.axes.moves(source.shape) and flattened(lowering, layer.output) is None:
        x = _channels_first(lowering, layer, x)
    _reshaped(lowering, layer, x, [-1, math.prod(source.shape)])


@RULES.register("reshape")
def _reshape(lowering: Lowering, layer: Reshape, inputs: list[int]) -> None:
    source, made = (lowering.network.tensors[name] for name in (layer.inputs[0], layer.output))
    moves = source.axes.moves(source.shape) or made.axes.moves(made.shape)
    if not moves or source.axes.image(source.shape)[0] == made.axes.image(made.shape)[0]:
        _reshaped(lowering, layer, inputs[0], [-1, *spatial_last(made)])
        return
    x = inputs[0]
    if source.axes.moves(source.shape):
        x = _channels_first(lowering, layer, x)
    if not made.axes.moves(made.shape):
        _reshaped(lowering, layer, x, [-1, *spatial_last(made)])
        return
    channels, rows, columns = made.axes.image(made.shape)
    first = lowering.tensor(f"{layer.output}/made_first", (channels, rows, columns), made)
    _reshaped(lowering, layer, x, [-1, channels, rows, columns], first)
    order = lowering.constant(f"{layer.output}/made_order", np.array([0, 2, 3, 1], np.int32))
    lowering.operator("TRANSPOSE", [first, order], lowering.made(layer), lowering.schema.TransposeOptionsT())


def _channels_first(lowering: Lowering, layer: Layer, x: int) -> int:
    source = lowering.network.tensors[layer.inputs[0]]
    order = lowering.constant(f"{layer.output}/order", np.array([0, 3, 1, 2], np.int32))
    made = lowering.tensor(f"{layer.output}/first", source.axes.image(source.shape), source)
    return lowering.operator("TRANSPOSE", [x, order], made, lowering.schema.TransposeOptionsT())


def _reshaped(lowering: Lowering, layer: Layer, x: int, shape: list[int], made: int | None = None) -> None:
    options = lowering.schema.ReshapeOptionsT()
    options.newShape = shape
    wanted = lowering.constant(f"{layer.output}/shape", np.array(shape, np.int32))
    lowering.operator("RESHAPE", [x, wanted], lowering.made(layer) if made is None else made, options)


@RULES.register("transpose")
def _transpose(lowering: Lowering, layer: Layer, inputs: list[int]) -> None:
    """Add a reshape: sequences of both layouts have the same bytes, one as an image of height 1, the other without rows."""
    made = lowering.network.tensors[layer.output]
    _reshaped(lowering, layer, inputs[0], [-1, *spatial_last(made)])


@RULES.register("concat")
def _concat(lowering: Lowering, layer: Concat, inputs: list[int]) -> None:
    """Add a concatenation. TensorFlow Lite only copies, so inputs whose scale differs from the output's are requantized first."""
    made, parts = lowering.network.tensors[layer.output], []
    for number, (name, x) in enumerate(zip(layer.inputs, inputs, strict=True)):
        source = lowering.network.tensors[name]
        if (source.scale, source.zero_point) != (made.scale, made.zero_point):
            info = TensorInfo(source.shape, made.scale, made.zero_point, source.layout)
            same = lowering.tensor(f"{layer.output}/part{number}", spatial_last(info), info)
            x = lowering.operator("QUANTIZE", [x], same, lowering.schema.QuantizeOptionsT())
        parts.append(x)
    options = lowering.schema.ConcatenationOptionsT()
    options.axis = file_axis(made, layer.axis)
    if (layer.low, layer.high) == (INT8_MIN, INT8_MAX):
        lowering.operator("CONCATENATION", parts, lowering.made(layer), options)
    else:
        raw = lowering.operator("CONCATENATION", parts, lowering.made(layer, "/raw"), options)
        lowering.bounds(layer, raw)
