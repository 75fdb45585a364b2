"""Static quantization rules of functions, pairs, copies and normalizations."""

import math
from typing import Any

import numpy as np
import torch

from sparsemod.graph import Operator
from sparsemod.graph.functions import X, evaluate, title
from sparsemod.quantization.arithmetic import (
    INT8_MAX,
    INT8_MIN,
    quantize_multiplier,
    quantize_values,
    rescale_multipliers,
)
from sparsemod.quantization.layers import LAYERS, Layer
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import (
    LENGTH_SCALE,
    LENGTH_ZERO,
    LOG_SCALE,
    LOG_ZERO,
    SOFTMAX_SCALE,
    SOFTMAX_ZERO,
    STEPS,
    GroupNorm,
    L2Normalize,
    LogSoftmax,
    Softmax,
    elements,
    power_bits,
)
from sparsemod.quantization.layers.pairs import Multiply
from sparsemod.quantization.layers.products import MatMul, Offset
from sparsemod.quantization.static import RULES, Build
from sparsemod.quantization.tensor import TensorInfo

_RESCALE_MAX = 2.0**19
_FIXED = {("sigmoid", X): (1 / 256, -128), ("tanh", X): (1 / 128, 0)}
"""Functions whose output has the scale and zero point that TensorFlow Lite prescribes."""


def _fixed(build: Build, operator: Operator, scale: float, zero_point: int) -> TensorInfo:
    name = operator.output
    made = TensorInfo(build.graph.shapes[name], scale, zero_point, build.graph.layouts.get(name))
    build.tensors[name] = made
    return made


@RULES.register("table")
def _table(build: Build, operator: Operator) -> Layer:
    (source,), function = build.sources(operator), operator.attributes["function"]
    if function in _FIXED:
        made = _fixed(build, operator, *_FIXED[function])
    else:
        made = build.tensors[operator.output] = build.spanned(operator.output, 0.0)
    real = (np.arange(INT8_MIN, INT8_MAX + 1) - source.zero_point) * source.scale
    values = evaluate(function, torch.from_numpy(real)).numpy()
    low, high = ((bound - made.zero_point) * made.scale for bound in (INT8_MIN, INT8_MAX))
    values = np.nan_to_num(values, nan=0.0, posinf=high, neginf=low)
    table = np.clip(np.floor(values / made.scale + 0.5) + made.zero_point, INT8_MIN, INT8_MAX)
    return Table(**build.base(operator), table=table.astype(np.int8), function=title(function))


@RULES.register("prelu")
def _prelu(build: Build, operator: Operator) -> Layer:
    (source,) = build.sources(operator)
    slopes = build.array(str(operator.weight)).reshape(-1)
    largest = max(1.0, float(np.abs(slopes).max()))
    made = build.spanned(operator.output, source.scale * largest / _RESCALE_MAX)
    build.tensors[operator.output] = made
    factor = source.scale / made.scale
    (positive, *sizes), shift = rescale_multipliers((factor, *(factor * np.abs(slopes))))
    signed = np.array(sizes, np.int32) * np.sign(slopes).astype(np.int32)
    return Prelu(**build.base(operator), slopes=signed, positive=positive, shift=shift)


@RULES.rules("sum", "subtract", "maximum", "minimum")
def _combined(build: Build, operator: Operator) -> Layer:
    sources = build.sources(operator)
    made = build.spanned(operator.output, max(s.scale for s in sources) / _RESCALE_MAX)
    build.tensors[operator.output] = made
    (first, second), shift = rescale_multipliers(tuple(s.scale / made.scale for s in sources))
    multipliers = (first, -second if operator.kind == "subtract" else second)
    layer: Any = LAYERS.get(operator.kind)
    combined: Layer = layer(
        **build.base(operator), **build.clamps(operator), multipliers=multipliers, shift=shift
    )
    return combined


@RULES.register("multiply")
def _multiply(build: Build, operator: Operator) -> Layer:
    first, second = build.sources(operator)
    made = build.spanned(operator.output, first.scale * second.scale / 2.0**13)
    build.tensors[operator.output] = made
    multiplier, shift = quantize_multiplier(first.scale * second.scale / made.scale)
    return Multiply(
        **build.base(operator), **build.clamps(operator), multiplier=int(multiplier[0]), shift=int(shift[0])
    )


@RULES.register("move")
def _move(build: Build, operator: Operator) -> Layer:
    made, a = build.same(operator), operator.attributes
    return Move(
        **build.base(operator), sizes=tuple(a["sizes"]), strides=tuple(a["strides"]), offset=a["offset"],
        made_shape=made.shape,
    )  # fmt: skip


@RULES.register("take")
def _take(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    a = operator.attributes
    return Take(**build.base(operator), places=tuple(map(tuple, a["places"])), fill=a["fill"])


@RULES.register("interpolate")
def _interpolate(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    a = operator.attributes
    lists: dict[str, Any] = {
        f"{axis}{end}": tuple(a[f"{axis}{end}"])
        for axis in ("rows", "columns")
        for end in ("", "_next", "_part")
    }
    return Interpolate(**build.base(operator), **lists, aligned=bool(a["aligned"]))


@RULES.register("softmax")
def _softmax(build: Build, operator: Operator) -> Layer:
    powers = _powers(build, operator)
    _fixed(build, operator, SOFTMAX_SCALE, SOFTMAX_ZERO)
    return Softmax(**build.base(operator), axis=operator.attributes["axis"], powers=powers)


def _powers(build: Build, operator: Operator) -> Any:
    (source,) = build.sources(operator)
    size = source.shape[operator.attributes["axis"]]
    powers = np.floor(2.0 ** power_bits(size) * np.exp(-np.arange(256) * source.scale) + 0.5)
    return powers.astype(np.int32)


@RULES.register("log_softmax")
def _log_softmax(build: Build, operator: Operator) -> Layer:
    (source,), powers = build.sources(operator), _powers(build, operator)
    _fixed(build, operator, LOG_SCALE, LOG_ZERO)
    unit = STEPS / LOG_SCALE
    logarithms = np.floor(unit * np.log1p(np.arange(257) / 256) + 0.5).astype(np.int32)
    step, offset = (math.floor(unit * math.log(v) + 0.5) for v in (2.0, 2.0**31 / float(powers[0])))
    multiplier = min(1 << 22, math.floor(unit * source.scale + 0.5))
    return LogSoftmax(
        **build.base(operator), axis=operator.attributes["axis"], powers=powers, logarithms=logarithms, step=step, offset=offset,
        multiplier=multiplier,
    )  # fmt: skip


@RULES.register("group_norm")
def _group_norm(build: Build, operator: Operator) -> Layer:
    (source,), a = build.sources(operator), operator.attributes
    channels = source.shape[a["axis"]]
    weight = np.ones(channels) if operator.weight is None else build.array(operator.weight).reshape(-1)
    bias = np.zeros(channels) if operator.bias is None else build.array(operator.bias).reshape(-1)
    count = elements(source.shape, a["axis"], a["groups"], a["whole"])
    largest = max(float(np.abs(weight).max()), 1e-30)
    made = build.spanned(
        operator.output, max(largest * math.sqrt(count), float(np.abs(bias).max())) / 2.0**21
    )
    build.tensors[operator.output] = made
    # multiplier / 2^shift = weight / scale / 16, at most 2^30
    shift = min(40, 34 - math.frexp(largest / made.scale)[1])
    multiplier = np.floor(weight / made.scale * 2.0 ** (shift - 4) + 0.5).astype(np.int32)
    offset = np.floor(256 * bias / made.scale + 0.5).astype(np.int32)
    epsilon = min(1 << 60, max(1, math.floor(count**2 * a["epsilon"] / source.scale**2 + 0.5)))
    return GroupNorm(
        **build.base(operator), **build.clamps(operator), axis=a["axis"], groups=a["groups"], whole=a["whole"], epsilon=epsilon,
        multiplier=multiplier, offset=offset, shift=shift,
    )  # fmt: skip


@RULES.register("matmul")
def _matmul(build: Build, operator: Operator) -> Layer:
    first, second = build.sources(operator)
    a: Any = operator.attributes
    unit = first.scale * second.scale * abs(a["factor"])
    made = build.spanned(operator.output, unit * a["inner"] * 255 * 255 / 2.0**30)
    build.tensors[operator.output] = made
    multiplier, shift = quantize_multiplier(unit / made.scale)
    return MatMul(**build.base(operator), **a, multiplier=int(multiplier[0]), shift=int(shift[0]))


@RULES.register("offset")
def _offset(build: Build, operator: Operator) -> Layer:
    (source,) = build.sources(operator)
    real = build.array(str(operator.weight)).reshape(source.shape)
    scale = float(np.float32(max(float(np.abs(real).max()), 1e-30) / 127))
    made = build.spanned(operator.output, max(source.scale, scale) / _RESCALE_MAX)
    build.tensors[operator.output] = made
    multipliers, shift = rescale_multipliers((source.scale / made.scale, scale / made.scale))
    return Offset(
        **build.base(operator), **build.clamps(operator), values=quantize_values(real, scale, 0), values_scale=scale,
        multipliers=multipliers, shift=shift,
    )  # fmt: skip


@RULES.register("l2_normalize")
def _normalize(build: Build, operator: Operator) -> Layer:
    _fixed(build, operator, LENGTH_SCALE, LENGTH_ZERO)
    return L2Normalize(**build.base(operator), axis=operator.attributes["axis"])
