"""Convolutions and linear layers as operators of TensorFlow Lite."""

from sparsemod.export.tflite.layers import RULES, Lowering
from sparsemod.export.tflite.shaping import flattened
from sparsemod.export.tflite.windows import padded
from sparsemod.quantization.layers import Conv, Linear


@RULES.register("conv")
def _conv(lowering: Lowering, layer: Conv, inputs: list[int]) -> None:
    s = lowering.schema
    channels = lowering.network.named.image(layer.inputs[0])[0]
    x, padding = padded(lowering, layer, inputs[0], (0, 0))
    options = s.DepthwiseConv2DOptionsT() if layer.depthwise else s.Conv2DOptionsT()
    if layer.depthwise:
        options.depthMultiplier = len(layer.weight) // channels
        values, axis = layer.weight.transpose(1, 2, 3, 0), 3
    else:
        values, axis = layer.weight.transpose(0, 2, 3, 1), 0
    options.padding = padding
    options.strideH, options.strideW = layer.stride
    options.dilationHFactor, options.dilationWFactor = layer.dilation
    operator = "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
    lowering.finish(layer, operator, [x, *lowering.weights(layer, values, axis)], options)


@RULES.register("linear")
def _linear(lowering: Lowering, layer: Linear, inputs: list[int]) -> None:
    options = lowering.schema.FullyConnectedOptionsT()
    options.keepNumDims = False
    weight = layer.weight
    shape = flattened(lowering, layer.inputs[0])
    if shape is not None:  # its input is channels last, so its columns must be too
        weight = weight.reshape(len(weight), *shape).transpose(0, 2, 3, 1).reshape(weight.shape)
    lowering.finish(layer, "FULLY_CONNECTED", [inputs[0], *lowering.weights(layer, weight, 0)], options)
