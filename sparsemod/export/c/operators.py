"""C code of functions, pairs, copies and normalizations."""

from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.c import text
from sparsemod.export.c.arena import node
from sparsemod.export.c.layers import EMITTERS, Array, Context, Emitted, bounds_of, shared
from sparsemod.measure.operator_features import image_places, memory_pattern, reshaped_pattern
from sparsemod.patterns import AXES, Pattern
from sparsemod.quantization.layers import Reshape
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import L2Normalize, Softmax
from sparsemod.quantization.layers.pairs import Combined, Multiply, Pair

OUTSIDE_PLACE = 0xFFFF
"""The place of what lies outside of the input; `NN_OUTSIDE` in nn.h."""
_OPERATIONS = {"sum": "NN_SUM", "subtract": "NN_SUM", "maximum": "NN_LARGER", "minimum": "NN_SMALLER"}


@EMITTERS.register("table")
def _table(context: Context, layer: Table) -> Emitted:
    held = shared(context, "int8_t", "table", layer.table)
    size = context.size(layer.output)
    return Emitted(
        [f"nn_table({size}, {held.name} + 128, {{in0}}, {{out}});"], ("nn_table",), f"table of {layer.function}",
        (held,),
    )  # fmt: skip


@EMITTERS.register("prelu")
def _prelu(context: Context, layer: Prelu) -> Emitted:
    channels, rows, columns = context.image(layer.output)
    slopes = Array("int32_t", f"{context.array_name}_slopes", layer.slopes)
    fields = {
        "positions": rows * columns, "channels": channels, "slopes": slopes.name, "positive": layer.positive,
        "shift": layer.shift, "zero_in": context.zero(layer.inputs[0]), "zero": context.zero(layer.output),
    }  # fmt: skip
    return Emitted(
        [f"nn_prelu(&{context.name}, {{in0}}, {{out}});"], ("nn_prelu",), "leaky activation of each channel",
        (slopes,), text.struct("nn_prelu_layer", context.name, fields),
    )  # fmt: skip


def _pair(context: Context, layer: Pair, **more: Any) -> dict[str, Any]:
    channels, rows, columns = context.image(layer.output)
    steps = []
    for name in layer.inputs:
        depth, height, width = context.image(name)
        by_axis = (width * depth if height > 1 else 0, depth if width > 1 else 0, 1 if depth > 1 else 0)
        steps.append("{" + ", ".join(map(str, by_axis)) + "}")
    zeros = [context.zero(name) for name in layer.inputs]
    return {
        "rows": rows, "columns": columns, "channels": channels, "step": "{" + ", ".join(steps) + "}", **more,
        "zero_in": f"{{{zeros[0]}, {zeros[1]}}}", "zero": context.zero(layer.output), "low": layer.low, "high": layer.high,
    }  # fmt: skip


@EMITTERS.rules("sum", "subtract", "maximum", "minimum")
def _combined(context: Context, layer: Combined) -> Emitted:
    fields = _pair(
        context, layer, multiplier=f"{{{layer.multipliers[0]}, {layer.multipliers[1]}}}", offset=1 << (layer.shift - 1),
        operation=_OPERATIONS[layer.kind], shift=layer.shift,
    )  # fmt: skip
    return Emitted(
        [f"nn_combine(&{context.name}, {{in0}}, {{in1}}, {{out}});"], ("nn_combine",),
        f"{layer.traits.title}{bounds_of(layer)}", constants=text.struct("nn_pair_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("multiply")
def _multiply(context: Context, layer: Multiply) -> Emitted:
    shift = 0 if layer.multiplier == 0 else -2 - layer.shift
    fields = _pair(
        context, layer, multiplier=f"{{{layer.multiplier}, 0}}", offset=0, operation=0, shift=shift
    )
    kernels = ("nn_multiply",)
    return Emitted(
        [f"nn_multiply(&{context.name}, {{in0}}, {{in1}}, {{out}});"], kernels,
        f"{layer.traits.title}{bounds_of(layer)}", constants=text.struct("nn_pair_layer", context.name, fields),
    )  # fmt: skip


def move_text(name: str, pattern: Pattern) -> str:
    """Return the struct of a copied pattern, in the order of C's memory."""
    missing = AXES - len(pattern.sizes)
    sizes = ", ".join(map(str, (*(1,) * missing, *pattern.sizes)))
    steps = ", ".join(map(str, (*(0,) * missing, *pattern.strides)))
    fields = {"offset": pattern.offset, "size": f"{{{sizes}}}", "step": f"{{{steps}}}"}
    return text.struct("nn_move_layer", name, fields)


@EMITTERS.register("move")
def _move(context: Context, layer: Move) -> Emitted:
    pattern = memory_pattern(context.network.named, node(layer), layer.pattern)
    return Emitted(
        [f"nn_move(&{context.name}, {{in0}}, {{out}});"], ("nn_move",), "elements in another order",
        constants=move_text(context.name, pattern),
    )  # fmt: skip


@EMITTERS.register("reshape")
def _reshape(context: Context, layer: Reshape) -> Emitted:
    """Convert from channels last to the order of arrays, back, or to other channels; called only when the bytes have to move."""
    source, made = context.network.named, layer.output
    if source.moves(layer.inputs[0]) and source.moves(made):
        pattern = reshaped_pattern(source, node(layer))
        if pattern is None:
            hint = f"from shape {context.shape(layer.inputs[0])} to {context.shape(made)}: the bytes move in no regular order"
            raise Unsupported(layer.kind, layer.name, EMITTERS.title, hint=hint)
        return Emitted(
            [f"nn_move(&{context.name}, {{in0}}, {{out}});"], ("nn_move",), "reshape",
            constants=move_text(context.name, pattern),
        )  # fmt: skip
    if source.moves(made):
        channels, rows, columns = context.image(made)
        sizes = (channels, rows * columns)
    else:
        channels, rows, columns = context.image(layer.inputs[0])
        sizes = (rows * columns, channels)
    return Emitted([f"nn_flatten({sizes[0]}, {sizes[1]}, {{in0}}, {{out}});"], ("nn_flatten",), "reshape")


def _places(context: Context, layer: Any, key: str, places: Any) -> Array:
    if max(places) >= OUTSIDE_PLACE:
        raise InvalidInput(f"layer {layer.name!r}.{key}", max(places), "at most 65534 in the C export")
    values = np.array([OUTSIDE_PLACE if place < 0 else place for place in places], np.uint16)
    return shared(context, "uint16_t", "places", values)


@EMITTERS.register("take")
def _take(context: Context, layer: Take) -> Emitted:
    depth, _, width = context.image(layer.inputs[0])
    channels, rows, columns = context.image(layer.output)
    by_axis = image_places(context.network.named, node(layer))
    arrays = [
        _places(context, layer, key, places or range(size))
        for key, places, size in zip(("rows", "columns"), by_axis, (rows, columns), strict=False)
    ]
    chosen = "0"
    if by_axis[2]:
        arrays.append(_places(context, layer, "channels", by_axis[2]))
        chosen = arrays[2].name
    fields = {
        "in_columns": width, "in_channels": depth, "out_rows": rows, "out_columns": columns, "out_channels": channels,
        "rows": arrays[0].name, "columns": arrays[1].name, "channels": chosen,
        "fill": context.zero(layer.inputs[0]) if layer.fill == "zero" else -128,
    }  # fmt: skip
    return Emitted(
        [f"nn_take(&{context.name}, {{in0}}, {{out}});"], ("nn_take",), "chosen rows, columns and channels", tuple(arrays),
        text.struct("nn_take_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("interpolate")
def _interpolate(context: Context, layer: Interpolate) -> Emitted:
    channels, rows, columns = context.image(layer.output)
    keys = ("row", "row_next", "row_part", "column", "column_next", "column_part")
    lists = (*layer.row_places, *layer.column_places)
    arrays = [_places(context, layer, key, places) for key, places in zip(keys, lists, strict=True)]
    fields = {
        "in_columns": context.image(layer.inputs[0])[2], "channels": channels, "out_rows": rows, "out_columns": columns,
        **{key: array.name for key, array in zip(keys, arrays, strict=True)},
    }  # fmt: skip
    return Emitted(
        [f"nn_interpolate(&{context.name}, {{in0}}, {{out}});"], ("nn_interpolate",), "bilinear interpolation",
        tuple(arrays), text.struct("nn_interpolate_layer", context.name, fields),
    )  # fmt: skip


def _vectors(context: Context, tensor: str) -> dict[str, Any]:
    channels, rows, columns = context.image(tensor)
    return {"runs": rows * columns, "size": channels}


@EMITTERS.register("softmax")
def _softmax(context: Context, layer: Softmax) -> Emitted:
    powers = shared(context, "uint32_t", "powers", layer.powers.astype(np.uint32))
    fields = {**_vectors(context, layer.output), "powers": powers.name}
    return Emitted(
        [f"nn_softmax(&{context.name}, {{in0}}, {{out}});"], ("nn_softmax",), "softmax", (powers,),
        text.struct("nn_softmax_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("l2_normalize")
def _normalize(context: Context, layer: L2Normalize) -> Emitted:
    fields = {**_vectors(context, layer.output), "zero_in": context.zero(layer.inputs[0])}
    return Emitted(
        [f"nn_normalize(&{context.name}, {{in0}}, {{out}});"], ("nn_normalize",), "vectors of length 1",
        constants=text.struct("nn_normalize_layer", context.name, fields),
    )  # fmt: skip
