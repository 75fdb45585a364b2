"""Padding of windows in TensorFlow Lite: SAME, VALID, or a PAD operator before the window."""

import numpy as np

from sparsemod.export.tflite.layers import Lowering
from sparsemod.kinds.windows import Pair, Window
from sparsemod.quantization.arithmetic import INT8_MIN
from sparsemod.quantization.layers import Layer


def is_same(window: Window, size: Pair, extra: Pair) -> bool:
    """Whether the window's padding equals TensorFlow Lite's SAME.

    `size`: rows and columns of the input; `extra`: padding that the last window needs beyond the stated padding."""
    counts = window.counts(size)
    for axis in (0, 1):
        count = -(-size[axis] // window.stride[axis])
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        total = max(0, (count - 1) * window.stride[axis] + reach - size[axis])
        before, after = window.around(axis)
        # Nothing reads beyond the last window: only the start and the number of windows matter.
        if counts[axis] != count or before != total // 2 or before + after + extra[axis] < total:
            return False
    return True


def cheaper(window: Window, size: Pair) -> tuple[int, int, int, int] | None:
    """Return the padding (left, right, top, bottom) that is SAME and gives as many windows as the stated padding; None if there is none."""
    found = []
    for axis in (1, 0):
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        count = -(-size[axis] // window.stride[axis])
        if count != window.counts(size)[axis]:
            return None
        total = max(0, (count - 1) * window.stride[axis] + reach - size[axis])
        found += [total // 2, total - total // 2]
    left, right, top, bottom = found
    return left, right, top, bottom


def padded(
    lowering: Lowering, layer: Layer, x: int, extra: Pair, *, force: bool = False, lowest: bool = False
) -> tuple[int, int]:
    """Return (input, SAME or VALID), with a PAD operator for padding that neither expresses.

    `force`: always add the operator; `lowest`: pad with -128."""
    s, window = lowering.schema, layer.window
    channels, rows, columns = lowering.network.named.image(layer.inputs[0])
    top, bottom, left, right = window.padding
    if not any(window.padding) and not any(extra):
        return x, s.Padding.VALID
    if not force and is_same(window, (rows, columns), extra):
        return x, s.Padding.SAME
    info = lowering.network.tensors[layer.inputs[0]]
    hint = None if force or lowest else cheaper(window, (rows, columns))
    if hint is not None:
        size = (rows + top + bottom) * (columns + left + right) * channels
        lowering.notes.append(
            f"{layer.name}: its padding costs a copy of {size} bytes; functional.pad(x, {hint}) before a convolution with padding=0 costs none"
        )
    amounts = np.array([[0, 0], [top, bottom + extra[0]], [left, right + extra[1]], [0, 0]], np.int32)
    grown = (rows + top + bottom + extra[0], columns + left + right + extra[1], channels)
    target = lowering.tensor(f"{layer.output}/padded", grown, info)
    inputs = [x, lowering.constant(f"{layer.output}/pads", amounts)]
    if lowest:
        inputs.append(lowering.constant(f"{layer.output}/pad_value", np.array([INT8_MIN], np.int8), info))
        lowering.operator("PADV2", inputs, target, s.PadV2OptionsT())
    else:
        lowering.operator("PAD", inputs, target, s.PadOptionsT())
    return target, s.Padding.VALID
