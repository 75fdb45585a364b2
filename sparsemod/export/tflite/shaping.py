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
    producer = next((layer for layer in network.layers if layer.output == tensor), None)
    readers = [layer for layer in network.layers if tensor in layer.inputs]
    if producer is None or not producer.traits.view or tensor in network.outputs.values():
        return None
    moves = network.named.moves(producer.inputs[0])
    return (
        network.named.image(producer.inputs[0])
        if moves and all(r.traits.any_order for r in readers)
        else None
    )


@RULES.register("flatten")
def _flatten(lowering: Lowering, layer: Flatten, inputs: list[int]) -> None:
    source, x = lowering.network.tensors[layer.inputs[0]], inputs[0]
    if source.axes.moves(source.shape) and flattened(lowering, layer.output) is None:
        x = _channels_first(lowering, layer, x)
    _reshaped(lowering, layer, x, [-1, math.prod(source.shape)])


@RULES.register("reshape")
def _reshape(lowering: Lowering, layer: Reshape, inputs: list[int]) -> None:
    source, output = (lowering.network.tensors[name] for name in (layer.inputs[0], layer.output))
    moves = source.axes.moves(source.shape) or output.axes.moves(output.shape)
    if not moves or source.axes.image(source.shape)[0] == output.axes.image(output.shape)[0]:
        _reshaped(lowering, layer, inputs[0], [-1, *spatial_last(output)])
        return
    x = inputs[0]
    if source.axes.moves(source.shape):
        x = _channels_first(lowering, layer, x)
    if not output.axes.moves(output.shape):
        _reshaped(lowering, layer, x, [-1, *spatial_last(output)])
        return
    channels, rows, columns = output.axes.image(output.shape)
    first = lowering.tensor(f"{layer.output}/made_first", (channels, rows, columns), output)
    _reshaped(lowering, layer, x, [-1, channels, rows, columns], first)
    order = lowering.constant(f"{layer.output}/made_order", np.array([0, 2, 3, 1], np.int32))
    lowering.operator(
        "TRANSPOSE", [first, order], lowering.add_output(layer), lowering.schema.TransposeOptionsT()
    )


def _channels_first(lowering: Lowering, layer: Layer, x: int) -> int:
    source = lowering.network.tensors[layer.inputs[0]]
    order = lowering.constant(f"{layer.output}/order", np.array([0, 3, 1, 2], np.int32))
    target = lowering.tensor(f"{layer.output}/first", source.axes.image(source.shape), source)
    return lowering.operator("TRANSPOSE", [x, order], target, lowering.schema.TransposeOptionsT())


def _reshaped(lowering: Lowering, layer: Layer, x: int, shape: list[int], target: int | None = None) -> None:
    options = lowering.schema.ReshapeOptionsT()
    options.newShape = shape
    new_shape = lowering.constant(f"{layer.output}/shape", np.array(shape, np.int32))
    lowering.operator(
        "RESHAPE", [x, new_shape], lowering.add_output(layer) if target is None else target, options
    )


@RULES.register("transpose")
def _transpose(lowering: Lowering, layer: Layer, inputs: list[int]) -> None:
    """Add a reshape: sequences of both layouts have the same bytes, one as an image of height 1, the other without rows."""
    output = lowering.network.tensors[layer.output]
    _reshaped(lowering, layer, inputs[0], [-1, *spatial_last(output)])


@RULES.register("concat")
def _concat(lowering: Lowering, layer: Concat, inputs: list[int]) -> None:
    """Add a concatenation. TensorFlow Lite only copies, so inputs whose scale differs from the output's are requantized first."""
    output, parts = lowering.network.tensors[layer.output], []
    for number, (name, x) in enumerate(zip(layer.inputs, inputs, strict=True)):
        source = lowering.network.tensors[name]
        if (source.scale, source.zero_point) != (output.scale, output.zero_point):
            info = TensorInfo(source.shape, output.scale, output.zero_point, source.layout)
            same = lowering.tensor(f"{layer.output}/part{number}", spatial_last(info), info)
            x = lowering.operator("QUANTIZE", [x], same, lowering.schema.QuantizeOptionsT())
        parts.append(x)
    options = lowering.schema.ConcatenationOptionsT()
    options.axis = file_axis(output, layer.axis)
    if (layer.low, layer.high) == (INT8_MIN, INT8_MAX):
        lowering.operator("CONCATENATION", parts, lowering.add_output(layer), options)
    else:
        raw = lowering.operator("CONCATENATION", parts, lowering.add_output(layer, "/raw"), options)
        lowering.bounds(layer, raw)
