"""Kernels of convolutions and linear layers for cores with Helium, the vector extension (MVE); see kernels/nn_mve.h.

The results are those of the definition (`sparsemod.quantization.arithmetic`): for a factor multiplier x 2^(-31 - s) with s >= 1,

    ((sum x multiplier >> 31) + 2^(s - 1)) >> s

is the rounded product. For larger factors all sums of a layer are shifted to the left first, where that leaves them within 32 bits.
"""

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c.combining import add_constants
from sparsemod.export.c.layers import Array, Context
from sparsemod.export.c.mve_assembler import instructions, stored_vectors
from sparsemod.export.c.mve_depthwise import depthwise
from sparsemod.export.c.mve_numbers import CONDITION, HEADER, Rescaling, filled, words
from sparsemod.export.c.special import HELIUM, Plain, Special, named
from sparsemod.kinds.mve import MveConv, has_mve, mve_loops, without_loops
from sparsemod.kinds.mve_depthwise import MveDepthwise
from sparsemod.kinds.mve_filters import Filters, mve_linear
from sparsemod.quantization.layers import Add, Conv, Linear, Weighted

_COPIED = 8  # at most this many vectors of a window are copied without a loop

Int64 = NDArray[np.int64]


def _stream(
    weights: NDArray[np.int8], filters: Filters, bias: Int64, multiplier: Int64, shift: Int64
) -> NDArray[np.int8]:
    """Return the constants of filters (outputs, taps)."""
    pieces: list[NDArray[np.int8]] = []
    sizes = [filters.group] * filters.groups + ([filters.rest] if filters.rest else [])
    start = 0
    for size in sizes:
        some = slice(start, start + size)
        rows = weights[some]
        pieces += [rows[:, tap : tap + taps].reshape(-1) for tap, taps in stored_vectors(filters.sums)]
        lanes = -(-size // 4) * 4
        padded = [
            np.concatenate([each[some], np.full(lanes - size, fill)])
            for each, fill in ((bias, 0), (multiplier, 0), (-shift, -1))
        ]
        pieces += [words(padded[0]), words(padded[1]), padded[2].astype(np.int8)]
        start += size
    return np.concatenate(pieces)


def _filters(layer: Weighted, filters: Filters, how: Rescaling) -> tuple[str, str, str]:
    """Return (name, text, declaration) of the function that applies filters."""
    sums = filters.sums
    code = instructions(filters, layer.low, layer.high, how.left)
    second = ", const int8_t *x1" if filters.pair else ""
    jump = ", int32_t jump" if sums.rows > 1 else ""

    def declared(name: str) -> str:
        return f"void {name}(const int8_t *x0{second}, int8_t *out, const nn_mve_filters *filters{jump});"

    name, text = named(
        "nn_mve_filters",
        lambda name: filled(
            "mve_filters.c", declaration=declared(name), taps=sums.taps, pair=filters.pair, groups=int(filters.groups > 0),
            rest=filters.rest, rows=sums.rows, run=sums.run, low=layer.low, high=layer.high, left=how.left, lines=code,
            looped=any("r11" in line for line in code),
        ),
    )  # fmt: skip
    return name, text, declared(name)


def _constants(
    context: Context, layer: Weighted, filters: Filters, weights: NDArray[np.int8], how: Rescaling
) -> tuple[Array, str]:
    """Return the array of constants, and the struct that points to it."""
    stream = _stream(weights, filters, how.bias, layer.multiplier.astype(np.int64), how.shift)
    array = Array("int8_t", f"{context.array_name}_stream", stream)
    whole = filters.groups * filters.group
    end = whole * (filters.sums.taps + 9)
    step = (len(layer.weight) if filters.pair else 4) << 16
    zero = context.zero(layer.output)
    fields = f"{array.name}, {array.name} + {end}, {step}, {zero}"
    return array, f"static const nn_mve_filters {context.name}_filters = {{{fields}}};\n"


@HELIUM.register("linear")
def _linear(context: Context, layer: Linear) -> Special | Plain | None:
    if not has_mve(context.core):
        return None
    how = Rescaling.of(context, layer)
    if isinstance(how, Plain):
        return how
    weight = context.in_memory(layer)
    outputs, taps = weight.shape
    filters = mve_linear(taps, outputs)
    name, text, declared = _filters(layer, filters, how)
    array, struct = _constants(context, layer, filters, weight, how)
    call = f"{name}({{in0}}, {{out}}, &{context.name}_filters);"
    return Special(CONDITION, (call,), (array,), f"{declared}\n{struct}", {f"{name}.c": text}, HEADER)


@HELIUM.register("conv")
def _conv(context: Context, layer: Conv) -> Special | Plain | None:
    if not has_mve(context.core):
        return None
    channels, *size = context.image(layer.inputs[0])
    outputs = len(layer.weight)
    loops = mve_loops(layer.window, channels, outputs, (size[0], size[1]))
    if loops is None:
        return Plain(without_loops(layer.window, channels, outputs, (size[0], size[1])))
    how = Rescaling.of(context, layer)
    if isinstance(how, Plain):
        return how
    if isinstance(loops, MveDepthwise):
        return depthwise(context, layer, loops, how)
    filters, filters_text, filters_declared = _filters(layer, loops.filters, how)
    name, text, declared = _windows(context, layer, loops, filters, filters_declared)
    weights = layer.weight.transpose(0, 2, 3, 1).reshape(outputs, -1)
    array, struct = _constants(context, layer, loops.filters, weights, how)
    scratch = "{scratch}, " if loops.scratch else ""
    call = f"{name}({{in0}}, {{out}}, {scratch}&{context.name}_filters);"
    files = {f"{filters}.c": filters_text, f"{name}.c": text}
    return Special(CONDITION, (call,), (array,), f"{declared}\n{struct}", files, HEADER)


def _windows(
    context: Context, layer: Conv, loops: MveConv, filters: str, filters_declared: str
) -> tuple[str, str, str]:
    """Return (name, text, declaration) of the function that applies filters to all windows."""
    window, (rows, columns) = loops.window, loops.size
    (kernel_rows, kernel_columns), (stride_rows, stride_columns) = window.kernel, window.stride
    top, _, left, _ = window.padding
    scratch = "int8_t *scratch, " if loops.scratch else ""
    inside = [
        f"top >= 0 && top <= {rows - kernel_rows}",
        f"left >= 0 && next_left <= {columns - kernel_columns}",
    ]
    if not loops.even:
        inside = [
            inside[0],
            f"left >= 0 && left <= {columns - kernel_columns}",
            f"next_top <= {rows - kernel_rows}",
        ]
        inside += [f"next_left >= 0 && next_left <= {columns - kernel_columns}"]
    places = [divmod(max(0, loops.windows - k), loops.made[1]) for k in (2, 1)]

    def declared(name: str) -> str:
        return f"void {name}(const int8_t *input, int8_t *output, {scratch}const nn_mve_filters *filters);"

    name, text = named(
        "nn_mve_conv",
        lambda name: filled(
            "mve_conv.c", name=name, declaration=declared(name), filters=filters, filters_declaration=filters_declared,
            title=f"{kernel_rows} x {kernel_columns} convolution of {loops.channels} to {loops.outputs} channels",
            channels=loops.channels, outputs=loops.outputs, run=loops.run, kernel_rows=kernel_rows, kernel_columns=kernel_columns,
            rows=rows, columns=columns, made_columns=loops.made[1], windows=loops.windows, pairs=loops.pairs, even=loops.even,
            stride_rows=stride_rows, stride_columns=stride_columns, pad_top=top, pad_left=left, scratch=loops.scratch > 0,
            column=loops.column, padded=loops.scratch > 0 and loops.taps % 16 > 0, edges=not window.pointwise,
            plain=window.pointwise and window.stride == (1, 1), direct=loops.direct, jumps=loops.filters.sums.rows > 1,
            fits=rows >= kernel_rows and columns >= kernel_columns, inside=" && ".join(inside),
            unrolled=kernel_rows * -(-loops.run // 16) <= _COPIED, zero=context.zero(layer.inputs[0]),
            last=[(row * stride_rows - top, column * stride_columns - left) for row, column in places],
        ),
    )  # fmt: skip
    return name, text, declared(name)


@HELIUM.register("add")
def _add(context: Context, layer: Add) -> Special | None:
    if not has_mve(context.core):
        return None

    def declared(name: str) -> str:
        return f"void {name}(const nn_add_layer *layer, const int8_t *first, const int8_t *second, int8_t *output);"

    name, text = named("nn_mve_add", lambda name: filled("mve_add.c", declaration=declared(name)))
    call = f"{name}(&{context.name}, {{in0}}, {{in1}}, {{out}});"
    constants = f"{declared(name)}\n{add_constants(context, layer)}"
    return Special(CONDITION, (call,), (), constants, {f"{name}.c": text}, HEADER)
