"""Static quantization rules: convert each kind of operator to an integer layer."""

import math
from dataclasses import replace
from typing import Any

from sparsemod.graph import Operator
from sparsemod.quantization.arithmetic import clamp_range, quantize_multiplier, rescale_multipliers
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Reshape,
    Transpose,
)
from sparsemod.quantization.static import RULES, Build

_RESCALE_MAX = 2.0**19


@RULES.register("conv")
def _conv(build: Build, operator: Operator) -> Layer:
    window, (weight, bias) = operator.window, build.weight_and_bias(operator)
    filters = weight.reshape(*weight.shape[:2], *window.kernel)  # filters of sequences have fewer axes
    return Conv(
        **build.base(operator), **build.weights(operator, filters, bias),
        stride=window.stride, padding=window.padding, dilation=window.dilation, groups=window.groups,
    )  # fmt: skip


@RULES.register("linear")
def _linear(build: Build, operator: Operator) -> Layer:
    return Linear(**build.base(operator), **build.weights(operator, *build.weight_and_bias(operator)))


@RULES.register("max_pool")
def _max_pool(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return MaxPool(**build.base(operator), **_window(operator))


@RULES.register("avg_pool")
def _avg_pool(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    counted = bool(operator.attributes["count_include_pad"])
    return AvgPool(**build.base(operator), **_window(operator), count_padding=counted)


def _window(operator: Operator) -> dict[str, Any]:
    w = operator.window
    return {
        "kernel": w.kernel,
        "stride": w.stride,
        "padding": w.padding,
        "dilation": w.dilation,
        "ceil": w.ceil,
    }


@RULES.register("global_avg_pool")
def _global_avg_pool(build: Build, operator: Operator) -> Layer:
    (source,) = build.sources(operator)
    output = build.spanned(operator.output, source.scale / _RESCALE_MAX)
    build.tensors[operator.output] = output
    positions = math.prod(build.graph.image(operator.inputs[0])[1:])
    multiplier, shift = quantize_multiplier(source.scale / (output.scale * positions))
    keep = bool(operator.attributes["keep"])
    return GlobalAvgPool(
        **build.base(operator), multiplier=int(multiplier[0]), shift=int(shift[0]), keep=keep
    )


@RULES.register("add")
def _add(build: Build, operator: Operator) -> Layer:
    sources = build.sources(operator)
    output = build.spanned(operator.output, max(s.scale for s in sources) / _RESCALE_MAX)
    build.tensors[operator.output] = output
    multipliers, shift = rescale_multipliers(tuple(s.scale / output.scale for s in sources))
    return Add(**build.base(operator), **build.clamps(operator), multipliers=multipliers, shift=shift)


@RULES.register("concat")
def _concat(build: Build, operator: Operator) -> Layer:
    sources = build.sources(operator)
    output = build.spanned(operator.output, max(s.scale for s in sources) / _RESCALE_MAX)
    if len({(s.scale, s.zero_point) for s in sources}) == 1:  # all are copied
        output = replace(output, scale=sources[0].scale, zero_point=sources[0].zero_point)
    build.tensors[operator.output] = output
    pairs = [rescale_multipliers((s.scale / output.scale,)) for s in sources]
    return Concat(
        **build.base(operator),
        **build.clamps(operator),
        axis=operator.attributes["axis"],
        multipliers=tuple(multipliers[0] for multipliers, _ in pairs),
        shifts=tuple(shift for _, shift in pairs),
    )


@RULES.rules("relu", "relu6")
def _relu(build: Build, operator: Operator) -> Layer:
    output = build.same(operator)
    low, high = clamp_range(operator.traits.activation, output.scale, output.zero_point)
    return Clamp(**build.base(operator), low=low, high=high)


@RULES.register("flatten")
def _flatten(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return Flatten(**build.base(operator))


@RULES.register("reshape")
def _reshape(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return Reshape(**build.base(operator), made_shape=tuple(operator.attributes["shape"]))


@RULES.register("transpose")
def _transpose(build: Build, operator: Operator) -> Layer:
    build.same(operator)
    return Transpose(**build.base(operator))
