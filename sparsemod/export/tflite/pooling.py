"""Pooling as operators of TensorFlow Lite."""

import numpy as np

from sparsemod.export.exporters import unsupported_layer
from sparsemod.export.tflite.layers import RULES, Lowering
from sparsemod.export.tflite.windows import is_same, padded
from sparsemod.quantization.layers import AvgPool, GlobalAvgPool, MaxPool, Pool


@RULES.register("max_pool")
def _max_pool(lowering: Lowering, layer: MaxPool, inputs: list[int]) -> None:
    if layer.dilation != (1, 1):
        raise unsupported_layer(
            "tflite", f"{layer.kind} with dilation {layer.dilation}", layer.name, layer.kind
        )
    x, padding = padded(lowering, layer, inputs[0], _extra(lowering, layer), lowest=True)
    _pool(lowering, layer, "MAX_POOL_2D", x, padding)


@RULES.register("avg_pool")
def _avg_pool(lowering: Lowering, layer: AvgPool, inputs: list[int]) -> None:
    """Add an average pool. SAME excludes padding from means, so counted padding needs a separate operator."""
    extra, x = _extra(lowering, layer), inputs[0]
    counted = layer.count_padding and any(layer.padding)
    if counted and any(extra):
        operator = f"{layer.kind} that counts padding, with windows that reach beyond it"
        raise unsupported_layer("tflite", operator, layer.name, layer.kind)
    if counted or not (any(layer.padding) or any(extra)):
        x, padding = padded(lowering, layer, x, extra, force=counted)
    else:
        _, rows, columns = lowering.network.named.image(layer.inputs[0])
        if not is_same(layer.window, (rows, columns), extra):
            operator = f"{layer.kind} with padding {layer.padding} that does not count"
            raise unsupported_layer("tflite", operator, layer.name, layer.kind)
        padding = lowering.schema.Padding.SAME
    _pool(lowering, layer, "AVERAGE_POOL_2D", x, padding)


def _extra(lowering: Lowering, layer: Pool) -> tuple[int, int]:
    _, rows, columns = lowering.network.named.image(layer.inputs[0])
    return layer.window.beyond((rows, columns))


def _pool(lowering: Lowering, layer: Pool, operator: str, x: int, padding: int) -> None:
    options = lowering.schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = layer.stride
    options.filterHeight, options.filterWidth = layer.kernel
    lowering.operator(operator, [x], lowering.add_output(layer), options)


@RULES.register("global_avg_pool")
def _mean(lowering: Lowering, layer: GlobalAvgPool, inputs: list[int]) -> None:
    options = lowering.schema.ReducerOptionsT()
    options.keepDims = layer.keep
    axes = lowering.constant(f"{layer.output}/axes", np.array([1, 2], np.int32))
    lowering.operator("MEAN", [inputs[0], axes], lowering.add_output(layer), options)
