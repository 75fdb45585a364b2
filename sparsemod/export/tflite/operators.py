"""Functions, pairs, copies and normalizations as operators of TensorFlow Lite.

Tables and copies gather int8 values by number, which is exact; sigmoid and tanh are TensorFlow Lite's own operators.
"""

from typing import Any

import numpy as np

from sparsemod.export.exporters import unsupported_layer
from sparsemod.export.onnx.operators import taken
from sparsemod.export.tflite.layers import RULES, Lowering, spatial_last
from sparsemod.patterns import OUTSIDE, in_memory
from sparsemod.quantization.arithmetic import quantize_values
from sparsemod.quantization.layers import Clamped, Layer
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import L2Normalize, Softmax
from sparsemod.quantization.tensor import TensorInfo

_OWN = {"sigmoid": ("LOGISTIC", 1 / 256, -128), "tanh": ("TANH", 1 / 128, 0)}
_ARITHMETIC = {"sum": "ADD", "subtract": "SUB", "multiply": "MUL"}


@RULES.register("table")
def _table(lowering: Lowering, layer: Table, inputs: list[int]) -> None:
    s, made = lowering.schema, lowering.network.tensors[layer.output]
    operator, scale, zero_point = _OWN.get(layer.function, ("", 0.0, 0))
    if operator and (made.scale, made.zero_point) == (scale, zero_point):
        lowering.operator(operator, inputs, lowering.add_output(layer))
        return
    shape = spatial_last(lowering.network.tensors[layer.inputs[0]])
    options = s.CastOptionsT()
    options.inDataType, options.outDataType = s.TensorType.INT8, s.TensorType.INT32
    wide = lowering.operator("CAST", inputs, _whole_numbers(lowering, f"{layer.output}/wide", shape), options)
    middle = lowering.constant(f"{layer.output}/middle", np.array([128], np.int32))
    index = lowering.operator(
        "ADD", [wide, middle], _whole_numbers(lowering, f"{layer.output}/index", shape), s.AddOptionsT()
    )
    table = lowering.constant(f"{layer.output}/table", layer.table, made)
    lowering.operator("GATHER", [table, index], lowering.add_output(layer), s.GatherOptionsT())


def _whole_numbers(lowering: Lowering, name: str, shape: tuple[int, ...]) -> int:
    index = lowering.tensor(name, shape)
    lowering.tensors[index].type = lowering.schema.TensorType.INT32
    return index


@RULES.register("prelu")
def _prelu(lowering: Lowering, layer: Prelu, inputs: list[int]) -> None:
    """Add a PRELU, whose slopes are int8 there: outputs may differ by more than with exact slopes."""
    source, made = (lowering.network.tensors[name] for name in (layer.inputs[0], layer.output))
    slopes = layer.slopes * 2.0**-layer.shift * made.scale / source.scale
    scale = float(np.float32(max(float(np.abs(slopes).max()), 1e-6) / 127))
    info = TensorInfo((len(slopes),), scale, 0)
    held = quantize_values(slopes.astype(np.float32), scale, 0)
    shape = (1,) * (len(spatial_last(source)) - 1) + (len(slopes),)
    weight = lowering.tensor(f"{layer.output}/slopes", shape, info, held.reshape(shape))
    lowering.operator("PRELU", [inputs[0], weight], lowering.add_output(layer))


@RULES.rules("sum", "subtract", "multiply")
def _arithmetic(lowering: Lowering, layer: Clamped, inputs: list[int]) -> None:
    s = lowering.schema
    options = {"sum": s.AddOptionsT, "subtract": s.SubOptionsT, "multiply": s.MulOptionsT}[layer.kind]()
    lowering.finish(layer, _ARITHMETIC[layer.kind], inputs, options)


@RULES.rules("maximum", "minimum")
def _extreme(lowering: Lowering, layer: Clamped, inputs: list[int]) -> None:
    """Add MAXIMUM or MINIMUM of inputs with the output's scale: requantized first, where it differs."""
    s, made, sides = lowering.schema, lowering.network.tensors[layer.output], []
    for number, (name, x) in enumerate(zip(layer.inputs, inputs, strict=True)):
        source = lowering.network.tensors[name]
        if (source.scale, source.zero_point) != (made.scale, made.zero_point):
            info = TensorInfo(source.shape, made.scale, made.zero_point, source.layout)
            same = lowering.tensor(f"{layer.output}/side{number}", spatial_last(info), info)
            x = lowering.operator("QUANTIZE", [x], same, s.QuantizeOptionsT())
        sides.append(x)
    plain = (layer.low, layer.high) == (-128, 127)
    result = lowering.add_output(layer, "" if plain else "/raw")
    lowering.operator(layer.kind.upper(), sides, result, s.MaximumMinimumOptionsT())
    if not plain:
        lowering.bounds(layer, result)


@RULES.register("move")
def _move(lowering: Lowering, layer: Move, inputs: list[int]) -> None:
    _gathered(lowering, layer, inputs[0], layer.pattern.index())


@RULES.register("take")
def _take(lowering: Lowering, layer: Take, inputs: list[int]) -> None:
    _gathered(lowering, layer, inputs[0], taken(layer, lowering.network.tensors[layer.inputs[0]].shape))


def _gathered(lowering: Lowering, layer: Layer, x: int, index: Any) -> None:
    """Add a GATHER of elements by number, between two reshapes; numbers count the elements in the order of the file."""
    s, name = lowering.schema, layer.output
    source, made = (lowering.network.tensors[each] for each in (layer.inputs[0], name))
    outside = index == OUTSIDE
    sides = [(info.shape, info.axes) for info in (source, made)]
    places = in_memory(np.where(outside, 0, index), sides[0], sides[1])
    missing = made.to_memory(outside.reshape(1, *made.shape)).reshape(-1)
    flat = _reshaped(lowering, name, "flat", x, (source.elements,), source)
    if missing.any():
        lowest = isinstance(layer, Take) and layer.fill == "lowest"
        more = lowering.constant(f"{name}/more", np.array([[0, 0], [0, 1]], np.int32))
        longer = lowering.tensor(f"{name}/filled", (source.elements + 1,), source)
        if lowest:
            value = lowering.constant(f"{name}/fill", np.array([-128], np.int8), source)
            flat = lowering.operator("PADV2", [flat, more, value], longer, s.PadV2OptionsT())
        else:
            flat = lowering.operator("PAD", [flat, more], longer, s.PadOptionsT())
        places = np.where(missing, source.elements, places)
    options = s.GatherOptionsT()
    options.axis = 1
    numbers = lowering.constant(f"{name}/elements", places.astype(np.int32))
    chosen = lowering.tensor(f"{name}/chosen", (made.elements,), made)
    lowering.operator("GATHER", [flat, numbers], chosen, options)
    _reshaped(lowering, name, "", chosen, spatial_last(made), made)


def elements_of(
    lowering: Lowering, name: str, x: int, source: TensorInfo, index: Any, info: TensorInfo
) -> int:
    """Add a GATHER of the elements `index` (numbers in the order of arrays, with the axes of the result) and return the result."""
    where = np.argsort(source.to_memory(np.arange(source.elements).reshape(1, *source.shape)).reshape(-1))
    flat = _reshaped(lowering, name, "flat", x, (source.elements,), source)
    options = lowering.schema.GatherOptionsT()
    options.axis = 1
    numbers = lowering.constant(f"{name}/elements", where[index].astype(np.int32))
    made = lowering.tensor(name, index.shape, source)
    lowering.operator("GATHER", [flat, numbers], made, options)
    if info.scale == source.scale:
        return made
    # The same bytes with another scale: TensorFlow Lite checks that GATHER keeps its scale, RESHAPE does not.
    return _reshaped(lowering, name, "scaled", made, index.shape, info)


def _reshaped(
    lowering: Lowering, name: str, suffix: str, x: int, shape: tuple[int, ...], info: TensorInfo
) -> int:
    options = lowering.schema.ReshapeOptionsT()
    options.newShape = [-1, *shape]
    wanted = lowering.constant(f"{name}/{suffix}shape", np.array([-1, *shape], np.int32))
    made = lowering.tensor(f"{name}/{suffix}" if suffix else name, shape, info)
    return lowering.operator("RESHAPE", [x, wanted], made, options)


@RULES.register("interpolate")
def _interpolate(lowering: Lowering, layer: Interpolate, inputs: list[int]) -> None:
    options = lowering.schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = layer.aligned, not layer.aligned
    size = lowering.constant(
        f"{layer.output}/size", np.array([len(layer.rows), len(layer.columns)], np.int32)
    )
    lowering.operator("RESIZE_BILINEAR", [inputs[0], size], lowering.add_output(layer), options)


@RULES.register("softmax")
def _softmax(lowering: Lowering, layer: Softmax, inputs: list[int]) -> None:
    options = lowering.schema.SoftmaxOptionsT()
    options.beta = 1.0
    lowering.operator("SOFTMAX", inputs, lowering.add_output(layer), options)


@RULES.register("l2_normalize")
def _normalize(lowering: Lowering, layer: L2Normalize, inputs: list[int]) -> None:
    if lowering.network.tensors[layer.inputs[0]].axes.positions:
        raise unsupported_layer("tflite", f"{layer.kind} at each position", layer.name, layer.kind)
    lowering.operator(
        "L2_NORMALIZATION", inputs, lowering.add_output(layer), lowering.schema.L2NormOptionsT()
    )
