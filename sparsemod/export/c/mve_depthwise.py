"""The 3 x 3 depthwise convolution for cores with Helium (MVE); see templates/mve_depthwise.c.

Constants of a channel: its weights, a word of three rows for each column, then the sums' first value, the multiplier, and the negative
shift of the doubled high word.
"""

import numpy as np

from sparsemod.export.c.layers import Array, Context
from sparsemod.export.c.mve_assembler_depthwise import instructions
from sparsemod.export.c.mve_numbers import CONDITION, HEADER, Rescaling, filled, words
from sparsemod.export.c.special import Special, named
from sparsemod.kinds.mve_depthwise import MveDepthwise
from sparsemod.quantization.layers import Conv


def depthwise(context: Context, layer: Conv, loops: MveDepthwise, how: Rescaling) -> Special:
    """Return the kernel of a layer, whose numbers allow one."""
    window, (rows, columns), (made_rows, made_columns) = loops.window, loops.size, loops.made
    name, text = named(
        "nn_mve_depthwise",
        lambda name: filled(
            "mve_depthwise.c", name=name, declaration=_declared(name), channels=loops.channels, rows=rows, columns=columns, made_rows=made_rows,
            made_columns=made_columns, stride=loops.stride, lines=loops.lines, groups=loops.groups, group_bytes=loops.group_bytes,
            filled=loops.filled, pad_top=window.padding[0], pad_left=window.padding[2], zero=context.zero(layer.inputs[0]),
            zero_out=context.zero(layer.output), low=layer.low, high=layer.high, left=how.left, places=_places(loops),
            code=instructions(loops, layer.low, layer.high, how.left),
        ),
    )  # fmt: skip
    channels = loops.channels
    weights = np.zeros((channels, 3, 4), np.int8)
    weights[:, :, :3] = layer.weight[:, 0].transpose(0, 2, 1)
    pieces = [
        weights.reshape(channels, 12),
        words(how.bias).reshape(channels, 4),
        words(layer.multiplier.astype(np.int64)).reshape(channels, 4),
        -how.shift.astype(np.int8).reshape(channels, 1),
    ]
    array = Array("int8_t", f"{context.array_name}_stream", np.concatenate(pieces, 1).reshape(-1))
    call = f"{name}({{in0}}, {{out}}, {{scratch}}, {array.name});"
    return Special(CONDITION, (call,), (array,), f"{_declared(name)}\n", {f"{name}.c": text}, HEADER)


def _declared(name: str) -> str:
    return f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const int8_t *w);"


def _places(loops: MveDepthwise) -> list[int]:
    """Return the addresses of four columns of words, less the step that comes before each load; and the places of four outputs."""
    right, below = loops.channels, loops.channels * loops.made[1]
    outputs = [0, right, below, below + right] if loops.stride == 1 else [0, right, 2 * right, 3 * right]
    return [-128, -64, 0, 64, *outputs]
