"""Kernels of convolutions and linear layers for cores with DSP instructions; see kernels/nn_dsp.h.

A layer's constants are one stream of words in the order in which the kernel reads them. For each group of filters: the sums' first
values (of the first filter of two, and the joint one of both), weights, multipliers, and shifts of the sums where they differ.

The results are those of the definition (`sparsemod.quantization.arithmetic`). For a shift s of the high word,

    ((sum x multiplier >> 32) + 2^(s - 1) + (zero << s)) >> s

is the rounded product plus the zero point. Channels with smaller shifts than the largest one have their sums shifted left by the
difference. A layer whose numbers do not allow this runs the plain kernel (`Requantized.of`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c.layers import Array, Context
from sparsemod.export.c.special import SPECIAL, Plain, Special, named
from sparsemod.kinds.dsp import dsp_loops, has_dsp, taps_of, without_loops
from sparsemod.kinds.dsp_depthwise import DspDepthwise
from sparsemod.kinds.dsp_linear import DspLinear
from sparsemod.quantization.arithmetic import requantize
from sparsemod.quantization.layers import Conv, Linear, Weighted
from sparsemod.templates import render

Int64 = NDArray[np.int64]

_CONDITION = "NN_DSP"
_LONGEST_SHIFT = 31
_LONGEST_LEFT = 8
_WORD = 2**31
_JOINT = 2**23
_FIXED = 30  # bits of the factor of a filter without weights
_FIXED_SHIFT = 12  # beyond it, such a filter's sum would exceed 24 bits without a shift to the left


@dataclass(frozen=True)
class Requantized:
    """How sums, whose first values are `bias`, become outputs: the common `shift`, the `offset`, and each channel's `multiplier` and
    shift to the `left`."""

    shift: int
    offset: int
    bias: Int64
    multiplier: Int64
    left: Int64

    @classmethod
    def of(cls, layer: Weighted, bias: Int64, zero: int) -> "Requantized | Plain":
        """Return the numbers of a layer with an output zero point, or why the sums or the shifts are too large.

        `bias`: the sums' first values. A filter without weights has the same output everywhere: it gets a factor that suits the shift
        of the others."""
        multiplier = layer.multiplier.astype(np.int64)
        empty = ~layer.weight.reshape(len(layer.weight), -1).any(axis=1)
        fixed = empty | (multiplier == 0)
        shifts = -1 - layer.shift.astype(np.int64)
        shift = max(1, int(shifts[~fixed].max())) if not fixed.all() else 1
        left = np.where(fixed, 0, shift - shifts)
        offset = (1 << (shift - 1)) + (zero << shift)
        if int(left.max()) > _LONGEST_LEFT:
            return Plain(
                f"the shifts of its filters differ by {int(left.max())} bits, more than {_LONGEST_LEFT}"
            )
        if shift > _LONGEST_SHIFT:
            return Plain(f"a shift of {shift} bits")
        if int(layer.weight.min()) < -127:
            return Plain("a weight of -128")
        outputs = np.clip(requantize(bias, multiplier, layer.shift.astype(np.int64)), -255, 255)
        left = np.where(empty, min(max(0, shift - _FIXED_SHIFT), _LONGEST_LEFT), left)
        bias = np.where(empty, outputs << (shift + 32 - _FIXED - left), bias)
        multiplier = np.where(empty, 1 << _FIXED, multiplier)
        largest = _largest(layer, bias)
        if int(largest.max()) >= _JOINT:
            return Plain(f"a sum may reach {int(largest.max()):,}, beyond 24 bits")
        moved = largest << left
        high = (moved * multiplier >> 32) + abs(offset) + 1
        if int(moved.max()) >= _WORD or int(high.max()) >= _WORD:
            return Plain("a scaled sum may exceed 32 bits")
        return cls(shift, offset, bias, multiplier, left)


def _largest(layer: Weighted, bias: Int64) -> Int64:
    """Return the largest absolute value of each channel's sum over bytes from -128 to 127."""
    flat = layer.weight.astype(np.int64).reshape(len(layer.weight), -1)
    positive, negative = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    highest, lowest = bias + 127 * positive - 128 * negative, bias - 128 * positive + 127 * negative
    return np.asarray(np.maximum(np.abs(highest), np.abs(lowest)), np.int64)


def _stream(
    weights: Int64,
    taps: Sequence[tuple[int, int | None]],
    how: Requantized,
    sizes: Sequence[int],
) -> NDArray[np.uint32]:
    """Return the constants of filters (outputs, taps) in groups of `sizes` filters; the last filter may be absent."""
    outputs, total = len(weights), sum(sizes)
    rows = np.zeros(
        (total, weights.shape[1] + 1), np.int64
    )  # the last column stands for the taps that do not exist
    rows[:outputs, :-1] = weights
    first, multiplier, left = (np.zeros(total, np.int64) for _ in range(3))
    first[:outputs], multiplier[:outputs], left[:outputs] = how.bias, how.multiplier, how.left
    places = np.array([(a, -1 if b is None else b) for a, b in taps], np.int64)
    halves = rows[0::2][:, places] + 256 * rows[1::2][:, places]  # (pairs of filters, words, 2)
    words = (halves[..., 0] & 0xFFFF) | (halves[..., 1] & 0xFFFF) << 16
    sums = np.stack([first[0::2], first[0::2] + 256 * first[1::2]], 1)
    pieces, start = [], 0
    for size in sizes:
        pairs = slice(start // 2, (start + size) // 2)
        pieces += [sums[pairs].reshape(-1), words[pairs].T.reshape(-1), multiplier[start : start + size]]
        if how.left.any():
            shifts = np.zeros((size + 3) // 4 * 4, np.int64)
            shifts[:size:2] = left[start : start + size : 2]
            shifts[1:size:2] = 8 - left[start + 1 : start + size : 2]
            pieces.append(shifts.astype(np.uint8).view("<u4").astype(np.int64))
        start += size
    return (np.concatenate(pieces) & 0xFFFFFFFF).astype(np.uint32)


def _bias(context: Context, layer: Weighted) -> Int64:
    sums = layer.weight.astype(np.int64).reshape(len(layer.weight), -1).sum(axis=1)
    return np.asarray(layer.bias.astype(np.int64) - context.zero(layer.inputs[0]) * sums, np.int64)


def _clamp(layer: Weighted) -> str:
    return "" if (layer.low, layer.high) == (-128, 127) else f"{layer.low}, {layer.high}"


def _runs(context: Context, layer: Weighted) -> Requantized | Plain:
    encoding = context.encodings.get(layer.name, "dense")
    if encoding == "plain":
        return Plain("chosen for its smaller flash")
    if encoding != "dense":
        return Plain(f"its weights are stored as {encoding}")
    return Requantized.of(layer, _bias(context, layer), context.zero(layer.output))


def _filled(template: str, **values: Any) -> str:
    return render("sparsemod.export.c", template, **values)


@SPECIAL.register("conv")
def _conv(context: Context, layer: Conv) -> Special | Plain | None:
    if not has_dsp(context.core):
        return None
    channels, *size = context.image(layer.inputs[0])
    outputs = len(layer.weight)
    loops = dsp_loops(layer.window, channels, outputs, (size[0], size[1]))
    if loops is None:
        return Plain(without_loops(layer.window, channels, outputs))
    how = _runs(context, layer)
    if isinstance(how, Plain):
        return how
    if isinstance(loops, DspDepthwise):
        return _depthwise(context, layer, loops, how)
    (kernel_rows, kernel_columns), window = layer.window.kernel, layer.window
    rest = [False] * (outputs % 4 // 2) + [True] * (outputs % 2)
    filters, filters_text = named(
        "nn_dsp_filters",
        lambda name: _filled(
            "dsp_filters.c", name=name, outputs_count=outputs, taps=kernel_rows * loops.run, quads=loops.quads, pairs=rest,
            count=loops.turns.count, turns=loops.turns.loops, rest=loops.turns.rest, shift=how.shift,
            shifted=bool(how.left.any()), clamp=_clamp(layer),
        ),
    )  # fmt: skip
    (stride_rows, stride_columns), (top, _, left, _) = window.stride, window.padding
    inside = [
        f"top >= 0 && top <= {size[0] - kernel_rows}",
        f"left >= 0 && left <= {size[1] - kernel_columns - stride_columns}",
    ]
    inside += [f"column + 1 < {loops.made[1]}"] if loops.made[1] % 2 else []
    declared = f"void {filters}(int8_t *out0, int8_t *out1, const int32_t *columns, const uint32_t *w, int32_t offset);"
    plain = window.pointwise and window.stride == (1, 1)
    name, text = named(
        "nn_dsp_conv",
        lambda name: _filled(
            "dsp_conv.c", name=name, declaration=declared, filters=filters, channels=channels, outputs=outputs, run=loops.run,
            title=f"{kernel_rows} x {kernel_columns} convolution of {channels} to {outputs} channels",
            kernel_rows=kernel_rows, kernel_columns=kernel_columns, rows=size[0], columns=size[1], made_columns=loops.made[1],
            stride_rows=stride_rows, stride_columns=stride_columns, pad_top=top, pad_left=left, windows=loops.windows,
            inside=" && ".join(inside), plain=plain, edges=not plain, zero=context.zero(layer.inputs[0]),
            unrolled=loops.written_out,
        ),
    )  # fmt: skip
    weights = layer.weight.astype(np.int64).transpose(0, 2, 3, 1).reshape(outputs, -1)
    taps = [pair for row in range(kernel_rows) for pair in taps_of(loops.run, row * loops.run)]
    sizes = [4] * loops.quads + [2] * loops.rest
    array = Array(
        "uint32_t",
        f"{context.array_name}_stream",
        _stream(weights, taps, how, sizes),
    )
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {{scratch}}, {array.name}, {how.offset});",),
        (array,),
        f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *w, int32_t offset);\n",
        {f"{filters}.c": filters_text, f"{name}.c": text},
    )


def _depthwise(context: Context, layer: Conv, loops: DspDepthwise, how: Requantized) -> Special:
    (rows, columns), window, channels = loops.size, loops.window, loops.channels
    name, text = named(
        "nn_dsp_depthwise",
        lambda name: _filled(
            "dsp_depthwise.c", name=name, channels=channels, rows=rows, columns=columns, made_rows=loops.made[0],
            made_columns=loops.made[1], strip_rows=loops.rows, strip_outputs=loops.outputs, row_words=loops.row_words,
            kept=loops.kept, gathered=loops.gathered, step=loops.step, stride_rows=window.stride[0], stride_columns=window.stride[1],
            pad_top=window.padding[0], pad_left=window.padding[2], zero=context.zero(layer.inputs[0]), shift=how.shift,
            clamp=_clamp(layer),
        ),
    )  # fmt: skip
    weights = layer.weight[:, 0].astype(np.int64) << how.left[:, None, None]  # (channels, 3, 3), 16 bits
    low, high = weights & 0xFFFF, (weights & 0xFFFF) << 16
    pairs = np.stack([low[:, :, 0] | high[:, :, 1], low[:, :, 1] | high[:, :, 2]], 2).reshape(channels, 6)
    bias = how.bias << how.left
    words = np.concatenate([pairs, bias[:, None], how.multiplier[:, None]], 1)
    array = Array(
        "uint32_t", f"{context.array_name}_stream", (words.reshape(-1) & 0xFFFFFFFF).astype(np.uint32)
    )
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {{scratch}}, {array.name}, {how.offset});",),
        (array,),
        f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *w, int32_t offset);\n",
        {f"{name}.c": text},
    )


@SPECIAL.register("linear")
def _linear(context: Context, layer: Linear) -> Special | Plain | None:
    if not has_dsp(context.core):
        return None
    how = _runs(context, layer)
    if isinstance(how, Plain):
        return how
    weight = context.in_memory(layer)
    outputs, taps = weight.shape
    loops = DspLinear(taps, outputs)
    name, text = named(
        "nn_dsp_linear",
        lambda name: _filled(
            "dsp_linear.c", name=name, outputs_count=outputs, taps=taps, words=loops.words, count=loops.count, tails=taps % 4, eights=loops.eights,
            pairs=outputs % 8 // 2, single=bool(outputs % 2), shift=how.shift, shifted=bool(how.left.any()), clamp=_clamp(layer),
        ),
    )  # fmt: skip
    sizes = [8] * loops.eights + [2] * loops.rest
    stream = _stream(weight.astype(np.int64), taps_of(taps), how, sizes)
    array = Array("uint32_t", f"{context.array_name}_stream", stream)
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {array.name}, {how.offset});",),
        (array,),
        f"void {name}(const int8_t *input, int8_t *output, const uint32_t *w, int32_t offset);\n",
        {f"{name}.c": text},
    )
