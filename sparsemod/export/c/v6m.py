"""Kernels of convolutions and linear layers for cores with the instructions of Armv6-M alone; see kernels/nn_v6m.h.

The results are those of the definition (`sparsemod.quantization.arithmetic`). For a factor multiplier x 2^(-24 - s),

    (floor(sum x multiplier / 2^24) + 2^(s - 1) + (zero << s)) >> s

is the rounded product plus the zero point. A layer whose numbers do not allow this runs the plain kernel (`Rescaled.of`).

A record of a filter has three words: the sum's first value, the multiplier, and the shift s.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c import v6m_assembler as assembler
from sparsemod.export.c.layers import Array, Context
from sparsemod.export.c.special import NARROW, Plain, Special, named
from sparsemod.export.c.v6m_assembler import Byte
from sparsemod.kinds.dsp import without_loops
from sparsemod.kinds.v6m import LANES, V6mConv, has_v6m, v6m_loops
from sparsemod.kinds.v6m_depthwise import V6mDepthwise
from sparsemod.kinds.v6m_linear import FEWEST, v6m_linear
from sparsemod.quantization.arithmetic import requantize
from sparsemod.quantization.layers import Conv, Linear, Weighted
from sparsemod.templates import render

Int64 = NDArray[np.int64]

_CONDITION = "NN_V6M"
_HEADER = "nn_v6m.h"
_LONGEST_SHIFT = 20  # (2 x 255 + 1) << 20 leaves room for a scaled sum
_LARGEST = 2**23
_HALF = 2**15


@dataclass(frozen=True)
class Rescaled:
    """How sums, whose first values are `bias`, become outputs: each channel's `multiplier` and `shift`."""

    bias: Int64
    multiplier: Int64
    shift: Int64

    @classmethod
    def of(cls, context: Context, layer: Weighted) -> "Rescaled | Plain":
        """Return the numbers of a layer, or why they allow no kernel of its own.

        A filter without weights or factor has the same output everywhere: its sum is 0, and its first value goes through a factor that
        gives this output."""
        encoding = context.encodings.get(layer.name, "dense")
        if encoding == "plain":
            return Plain("chosen for its smaller flash")
        if encoding != "dense":
            return Plain(f"its weights are stored as {encoding}")
        weight = layer.weight.astype(np.int64).reshape(len(layer.weight), -1)
        bias = layer.bias.astype(np.int64) - context.zero(layer.inputs[0]) * weight.sum(axis=1)
        multiplier, shift = layer.multiplier.astype(np.int64), 7 - layer.shift.astype(np.int64)
        fixed = (multiplier == 0) | ~weight.any(axis=1)
        outputs = np.clip(requantize(bias, multiplier, layer.shift.astype(np.int64)), -255, 255)
        positive, negative = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
        highest = np.abs(bias + 127 * positive - 128 * negative)
        lowest = np.abs(bias - 128 * positive + 127 * negative)
        largest = np.where(fixed, 0, np.maximum(highest, lowest))
        if int(largest.max()) >= _LARGEST:
            return Plain(f"a sum may reach {int(largest.max()):,}, beyond 24 bits")
        # 2^24 x output / 2^24 x 2^-1: a filter with a fixed output has no weights, or a factor of 0, which takes its weights away.
        empty = ~weight.any(axis=1)
        shift = np.where(fixed, 1, shift)
        multiplier = np.where(fixed, np.where(empty, 2**25, 0), multiplier)
        bias = np.where(empty, outputs, bias)
        if int(shift.min()) < 1:
            return Plain(f"a factor of {2.0 ** (7 - int(shift.min())) / 2:g} or above")
        if int(shift.max()) > _LONGEST_SHIFT:
            return Plain(f"a factor below 2^{6 - _LONGEST_SHIFT}")
        return cls(bias, multiplier, shift)

    def records(self, name: str, bias: Int64 | None = None) -> Array:
        """Return the array of records, with other first values when given."""
        rows = np.stack([self.bias if bias is None else bias, self.multiplier, self.shift], 1)
        return Array("int32_t", f"{name}_records", rows.reshape(-1))


def _filled(template: str, **values: Any) -> str:
    return render("sparsemod.export.c", template, **values)


def _byte(context: Context, layer: Weighted) -> Byte:
    return Byte(context.zero(layer.output), layer.low, layer.high)


def _words(values: NDArray[np.int8] | NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1).view("<u4").astype(np.uint32)


@NARROW.register("conv")
def _conv(context: Context, layer: Conv) -> Special | Plain | None:
    if not has_v6m(context.core):
        return None
    channels, *size = context.image(layer.inputs[0])
    outputs = len(layer.weight)
    loops = v6m_loops(layer.window, channels, outputs, (size[0], size[1]))
    if loops is None:
        return Plain(without_loops(layer.window, channels, outputs))
    how = Rescaled.of(context, layer)
    if isinstance(how, Plain):
        return how
    if isinstance(loops, V6mDepthwise):
        return _depthwise(context, layer, loops, how)
    columns, columns_text, columns_declared = _columns()
    filters, filters_text, filters_declared = _filters(loops, _byte(context, layer))
    (kernel_rows, kernel_columns), window = layer.window.kernel, layer.window

    def declared(name: str) -> str:
        return f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *w, const int32_t *records);"

    name, text = named(
        "nn_v6m_conv",
        lambda name: _filled(
            "v6m_conv.c", name=name, declaration=declared(name), columns_declaration=columns_declared, filters_declaration=filters_declared,
            columns_name=columns, filters_name=filters, channels=channels, outputs=outputs, run=loops.run, steps=loops.steps,
            title=f"{kernel_rows} x {kernel_columns} convolution of {channels} to {outputs} channels", windows=loops.windows,
            kernel_rows=kernel_rows, kernel_columns=kernel_columns, rows=size[0], columns=size[1], made_columns=loops.made[1],
            stride_rows=window.stride[0], stride_columns=window.stride[1], pad_top=window.padding[0], pad_left=window.padding[2],
            straight=loops.straight, joined=loops.joined, zero=context.zero(layer.inputs[0]),
        ),
    )  # fmt: skip
    stream = Array("uint32_t", f"{context.array_name}_stream", _stream(layer, loops))
    records = how.records(context.array_name)
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {{scratch}}, {stream.name}, {records.name});",),
        (stream, records),
        f"{declared(name)}\n",
        {f"{columns}.c": columns_text, f"{filters}.c": filters_text, f"{name}.c": text},
        _HEADER,
    )


def _columns() -> tuple[str, str, str]:
    """Return (name, text, declaration) of the function that makes columns of windows."""

    def declared(name: str) -> str:
        return f"int32_t *{name}(int32_t *to, const int8_t *const *from, int32_t count);"

    name, text = named(
        "nn_v6m_columns",
        lambda name: _filled("v6m_columns.c", declaration=declared(name), lines=assembler.columns()),
    )
    return name, text, declared(name)


def _filters(loops: V6mConv, byte: Byte) -> tuple[str, str, str]:
    """Return (name, text, declaration) of the function that applies filters to four windows."""

    def declared(name: str) -> str:
        return f"void {name}(const int32_t *columns, const uint32_t *w, const int32_t *records, int8_t *const *out);"

    name, text = named(
        "nn_v6m_filters",
        lambda name: _filled(
            "v6m_filters.c",
            declaration=declared(name),
            outputs=loops.outputs,
            steps=loops.steps,
            byte=byte,
            lines=assembler.filters(loops.turns, loops.outputs, LANES, byte),
        ),
    )
    return name, text, declared(name)


def _stream(layer: Conv, loops: V6mConv) -> NDArray[np.uint32]:
    """Return the weights: of eight filters, two taps of each filter after the other."""
    kernel_rows, run, outputs = layer.window.kernel[0], loops.run, loops.outputs
    rows = np.zeros((LANES * loops.blocks, kernel_rows, run + run % 2), np.int8)
    rows[:outputs, :, :run] = layer.weight.transpose(0, 2, 3, 1).reshape(outputs, kernel_rows, run)
    return _words(rows.reshape(loops.blocks, LANES, loops.steps, 2).transpose(0, 2, 1, 3))


def _depthwise(context: Context, layer: Conv, loops: V6mDepthwise, how: Rescaled) -> Special:
    window, channels, byte = loops.window, loops.channels, _byte(context, layer)

    def declared(name: str) -> str:
        return f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *w);"

    name, text = named(
        "nn_v6m_depthwise",
        lambda name: _filled(
            "v6m_depthwise.c", name=name, declaration=declared(name), channels=channels, rows=loops.size[0], columns=loops.size[1],
            made_rows=loops.made[0], made_columns=loops.made[1], strip=loops.columns, gathered=loops.gathered, new_rows=loops.new_rows,
            stride_rows=window.stride[0], stride_columns=window.stride[1], pad_top=window.padding[0], pad_left=window.padding[2],
            zero=context.zero(layer.inputs[0]), byte=byte, lines=assembler.depthwise(window.stride[1], byte),
        ),
    )  # fmt: skip
    small = np.zeros((channels, 12), np.int8)
    small[:, :9] = layer.weight[:, 0].transpose(0, 2, 1).reshape(channels, 9)  # column by column
    small[:, 9] = how.shift
    numbers = np.stack([how.multiplier, how.bias], 1).astype("<i4").view(np.int8).reshape(channels, 8)
    stream = Array("uint32_t", f"{context.array_name}_stream", _words(np.concatenate([numbers, small], 1)))
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {{scratch}}, {stream.name});",),
        (stream,),
        f"{declared(name)}\n",
        {f"{name}.c": text},
        _HEADER,
    )


@NARROW.register("linear")
def _linear(context: Context, layer: Linear) -> Special | Plain | None:
    if not has_v6m(context.core):
        return None
    weight = context.in_memory(layer)
    outputs, taps = weight.shape
    loops, byte = v6m_linear(taps, outputs), _byte(context, layer)
    if loops is None:
        return Plain(f"fewer than {FEWEST} outputs")
    how = Rescaled.of(context, layer)
    if isinstance(how, Plain):
        return how
    several = loops.parts > 1
    functions = [("last", assembler.linear(loops.turns, outputs, byte, joined=several), True, several)]
    if several:
        functions.insert(0, ("part", assembler.linear(loops.turns, outputs, byte, partial=True), False, True))

    def declared(name: str) -> str:
        return f"void {name}(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *w, const int32_t *records);"

    name, text = named(
        "nn_v6m_linear",
        lambda name: _filled(
            "v6m_linear.c", name=name, declaration=declared(name), taps=taps, outputs=outputs, parts=loops.parts, steps=loops.steps,
            quads=loops.quads, byte=byte, functions=functions, padded=2 * loops.steps * loops.parts > taps + 1,
        ),
    )  # fmt: skip
    rows = np.zeros((4 * loops.quads, 2 * loops.parts * loops.steps), np.int64)
    rows[:outputs, :taps] = weight
    grouped = (rows + 128).astype(np.uint8).reshape(loops.quads, 2, 2, loops.parts, loops.steps, 2)
    stream = Array("uint32_t", f"{context.array_name}_stream", _words(grouped.transpose(3, 0, 4, 1, 2, 5)))
    # Each step adds 2^15 to the sums of the first filter of two.
    bias = how.bias - np.where(np.arange(outputs) % 2 == 0, _HALF * loops.parts * loops.steps, 0)
    records = how.records(context.array_name, bias)
    return Special(
        _CONDITION,
        (f"{name}({{in0}}, {{out}}, {{scratch}}, {stream.name}, {records.name});",),
        (stream, records),
        f"{declared(name)}\n",
        {f"{name}.c": text},
        _HEADER,
    )
