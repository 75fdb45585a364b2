"""Static quantization rules of functions, pairs, copies and normalizations."""

from typing import Any

import numpy as np
import torch

from sparsemod.errors import Unsupported
from sparsemod.graph import Operator
from sparsemod.graph.functions import X, evaluate, title
from sparsemod.quantization.arithmetic import (
    INT8_MAX,
    INT8_MIN,
    quantize_multiplier,
    rescale_multipliers,
)
from sparsemod.quantization.layers import LAYERS, Layer
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import (
    LENGTH_SCALE,
    LENGTH_ZERO,
    SOFTMAX_SCALE,
    SOFTMAX_ZERO,
    L2Normalize,
    Softmax,
    power_bits,
)
from sparsemod.quantization.layers.pairs import Multiply
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
    if operator.attributes["logarithm"]:
        hint = "end the network before it or with softmax, or quantize with largest_only=True: the largest class is the same"
        raise Unsupported("log_softmax", operator.name, RULES.title, hint=hint)
    (source,) = build.sources(operator)
    _fixed(build, operator, SOFTMAX_SCALE, SOFTMAX_ZERO)
    size = source.shape[operator.attributes["axis"]]
    powers = np.floor(2.0 ** power_bits(size) * np.exp(-np.arange(256) * source.scale) + 0.5)
    return Softmax(**build.base(operator), axis=operator.attributes["axis"], powers=powers.astype(np.int32))


@RULES.register("l2_normalize")
def _normalize(build: Build, operator: Operator) -> Layer:
    _fixed(build, operator, LENGTH_SCALE, LENGTH_ZERO)
    return L2Normalize(**build.base(operator), axis=operator.attributes["axis"])
