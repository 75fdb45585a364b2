"""An int8 model as the house's integer network, with the scales, zero points and integers of the file.

The network's arithmetic is that of `sparsemod.quantization.arithmetic`. Runtimes rescale by other roundings (ONNX Runtime in floats,
LiteRT partly in two steps), so single values may differ by a quantum; `sparsemod.importing.runtime` measures how many. A step whose result
has another scale than its kernel can make (such as a pooling with two scales) gets a table of 256 values after it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput, SparsemodError, Unsupported
from sparsemod.graph.functions import X
from sparsemod.graph.rules.resizing import between
from sparsemod.importing.integer_build import BY, Build, numbers
from sparsemod.importing.steps import Scale, Step, Steps
from sparsemod.importing.views import moved
from sparsemod.quantization.arithmetic import (
    INT8_MAX,
    quantize_multiplier,
    rescale_multipliers,
)
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Reshape,
)
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Take
from sparsemod.quantization.layers.normalizing import L2Normalize, Softmax, power_bits
from sparsemod.quantization.layers.pairs import Maximum, Minimum, Multiply, Subtract, Sum


def to_integer_network(model: Steps, file: str = "") -> IntegerNetwork:
    """Return the integer network of a simplified int8 model. Raises Unsupported with every unsupported step, InvalidInput."""
    build = Build(model, file)
    refused: list[Unsupported] = []
    for step in model.steps:
        try:
            _add(build, step)
        except Unsupported as error:
            refused.append(error)
            build.tensors.setdefault(step.output, build.info(step.output))
    if refused:
        raise refused[0].beside(refused[1:])
    output = build.tensor(model.output)
    return IntegerNetwork(model.input, output, build.tensors, tuple(build.layers))


def _add(build: Build, step: Step) -> None:
    """Add the layers of a step. Raises Unsupported, InvalidInput that names the layer."""
    if step.kind not in _RULES:
        raise Unsupported(step.kind, step.title, BY, tuple(_RULES))
    try:
        _RULES[step.kind](build, step)
    except SparsemodError as error:
        if isinstance(error, InvalidInput):
            raise InvalidInput(
                f"layer {step.title!r}: {error.field}", error.value, error.allowed, build.file
            ) from None
        raise


def _weights(build: Build, step: Step) -> dict[str, Any]:
    """Return the fields of a layer with weights: the file's integers, and multipliers from its scales."""
    a, source, made = step.attributes, build.info(step.inputs[0]), build.info(step.output)
    weight = a["weight"]
    if a.get("weight_scale") is None:
        raise Unsupported(
            f"{step.kind} with float weights", step.title, BY, hint="quantize its weights as well"
        )
    scale = np.broadcast_to(np.asarray(a["weight_scale"], np.float32), (len(weight),)).copy()
    if not np.all(np.isfinite(scale)) or scale.min() < 0:
        raise InvalidInput("weight scale", float(scale.min()), "positive numbers")
    zero = scale == 0
    if np.any(weight[zero]):
        raise InvalidInput("weight scale", 0.0, "positive numbers")
    scale[zero] = np.float32(made.scale / source.scale)
    multiplier, shift = quantize_multiplier(source.scale * scale.astype(np.float64) / made.scale)
    bias = a["bias"]
    return {
        "weight": weight, "bias": np.zeros(len(weight), np.int32) if bias is None else bias, "multiplier": multiplier,
        "shift": shift, "weight_scale": scale, **build.clamps(step),
    }  # fmt: skip


def _conv(build: Build, step: Step) -> None:
    a = step.attributes
    layer = Conv(
        **build.base(step), **_weights(build, step), stride=a["stride"], padding=a["padding"], dilation=a["dilation"],
        groups=a["groups"],
    )  # fmt: skip
    build.put(layer, build.info(step.output))


def _linear(build: Build, step: Step) -> None:
    if len(build.model.shapes[step.inputs[0]]) != 1:
        raise Unsupported("linear layer at each position", step.title, BY)
    build.put(Linear(**build.base(step), **_weights(build, step)), build.info(step.output))


def _function(build: Build, step: Step) -> None:
    (source,) = build.sources(step)
    build.table(step.name, source, step.output, step.attributes["function"])


def _quantize(build: Build, step: Step) -> None:
    (source,) = build.sources(step)
    build.table(step.name, source, step.output, X, "rescale")


def _constant(build: Build, step: Step) -> None:
    a = step.attributes
    value = np.asarray(a["value"], np.float64)
    if value.size != 1:
        _per_channel(build, step, value)
        return
    operands = (float(value.reshape(-1)[0]), X) if a["reverse"] else (X, float(value.reshape(-1)[0]))
    (source,) = build.sources(step)
    function: tuple[Any, ...] = (a["operator"], *operands)
    if a["reverse"]:
        number = operands[0]
        function = {
            "add": ("sum", X, number), "multiply": ("multiply", X, number), "subtract": ("affine", X, -1.0, number),
            "divide": ("multiply", ("reciprocal", X), number), "maximum": ("maximum", X, number),
            "minimum": ("minimum", X, number),
        }[a["operator"]]  # fmt: skip
    elif a["operator"] == "add":
        function = ("sum", *operands)
    build.table(step.name, source, step.output, function)


def _per_channel(build: Build, step: Step, value: Any) -> None:
    """Add arithmetic with one constant for each channel, as a convolution of one tap for each channel."""
    operator, reverse = step.attributes["operator"], step.attributes["reverse"]
    source, made = build.info(step.inputs[0]), build.info(step.output)
    channels, rank = source.shape[0], len(source.shape)
    by_channel = value.reshape((1,) * (rank - value.ndim) + value.shape) if value.ndim <= rank else value
    if by_channel.shape != (channels, *[1] * (rank - 1)) or operator not in (
        "add",
        "subtract",
        "multiply",
        "divide",
    ):
        hint = "one number, or one for each channel; fold these into the layer before or after it"
        raise Unsupported(f"{operator} with constants of shape {value.shape}", step.title, BY, hint=hint)
    constants, ones = by_channel.reshape(-1), np.ones(channels)
    if operator == "divide" and (reverse or not constants.all()):
        raise Unsupported("a division by values", step.title, BY)
    factor, shift = {
        "add": (ones, constants), "multiply": (constants, 0 * ones), "subtract": (ones, -constants), "divide": (1 / np.where(constants == 0, 1, constants), 0 * ones),
    }[operator]  # fmt: skip
    if operator == "subtract" and reverse:
        factor, shift = -factor, -shift
    scale = np.maximum(np.abs(factor), 1e-30) / INT8_MAX
    weight = np.rint(factor / scale).astype(np.int8).reshape(channels, 1, 1, 1)
    bias = np.clip(np.rint(shift / (source.scale * scale)), -(2**30), 2**30).astype(np.int32)
    multiplier, shifts = quantize_multiplier(source.scale * scale / made.scale)
    (name,) = build.sources(step)
    output = step.output
    if rank == 1:
        image = f"{step.output}/image"
        made_shape = (channels, 1, 1)
        build.put(
            Reshape(f"{step.name}.image", (name,), image, made_shape=made_shape),
            replace(source, shape=made_shape),
        )
        name, output = image, f"{step.output}/scaled"
    layer = Conv(
        name=step.name, inputs=(name,), output=output, weight=weight, bias=bias, multiplier=multiplier, shift=shifts,
        weight_scale=scale.astype(np.float32), groups=channels, **build.clamps(step),
    )  # fmt: skip
    build.put(layer, made if rank > 1 else replace(made, shape=(channels, 1, 1)))
    if rank == 1:
        build.put(Flatten(f"{step.name}.vector", (output,), step.output), made)


def _reduce(build: Build, step: Step) -> None:
    a, shape = step.attributes, build.model.shapes[step.inputs[0]]
    if a["operator"] != "max" or len(shape) < 2 or tuple(a["axes"]) != tuple(range(1, len(shape))):
        raise Unsupported(
            f"{a['operator']} over axes {tuple(axis + 1 for axis in a['axes'])}", step.title, BY
        )
    window: Any = (1, *shape[1:])[-2:]
    scale, keep = build.scale(step.inputs[0]), bool(a["keep"])
    same = scale == build.scale(step.output)
    (source,) = build.sources(step)
    pooled = step.output if keep and same else f"{step.output}/pooled"
    info = replace(build.info(step.inputs[0]), shape=(shape[0], *[1] * (len(shape) - 1)))
    build.put(MaxPool(step.name, (source,), pooled, kernel=window, stride=window), info)
    if not keep:
        vector = step.output if same else f"{step.output}/vector"
        build.put(Flatten(f"{step.name}.vector", (pooled,), vector), replace(info, shape=shape[:1]))
        pooled = vector
    if not same:
        build.table(f"{step.name}.scale", pooled, step.output, X, "rescale")


def _pair(build: Build, step: Step) -> None:
    operator, made = step.attributes["operator"], build.info(step.output)
    base, clamps = build.base(step), build.clamps(step)
    scales = [build.tensors[name].scale for name in base["inputs"]]
    shapes = [build.tensors[name].shape for name in base["inputs"]]
    if len(shapes[0]) != len(shapes[1]):
        raise Unsupported(f"{operator} of tensors of different rank", step.title, BY)
    if operator == "multiply":
        multiplier, shift = quantize_multiplier(scales[0] * scales[1] / made.scale)
        build.put(Multiply(**base, **clamps, multiplier=int(multiplier[0]), shift=int(shift[0])), made)
        return
    kinds = {"add": Sum, "subtract": Subtract, "maximum": Maximum, "minimum": Minimum}
    if operator not in kinds:
        raise Unsupported(f"{operator} of two tensors", step.title, BY, tuple(kinds))
    (first, second), shift_bits = rescale_multipliers(tuple(scale / made.scale for scale in scales))
    kind: Any = Add if operator == "add" and shapes[0] == shapes[1] else kinds[operator]
    multipliers = (first, -second if operator == "subtract" else second)
    build.put(kind(**base, **clamps, multipliers=multipliers, shift=shift_bits), made)


def _max_pool(build: Build, step: Step) -> None:
    a = step.attributes
    build.keeping(
        step,
        lambda base: MaxPool(
            **base,
            kernel=a["kernel"],
            stride=a["stride"],
            padding=a["padding"],
            dilation=a["dilation"],
            ceil=a["ceil"],
        ),
    )


def _avg_pool(build: Build, step: Step) -> None:
    a = step.attributes
    build.keeping(
        step,
        lambda base: AvgPool(
            **base, kernel=a["kernel"], stride=a["stride"], padding=a["padding"], ceil=a["ceil"],
            count_padding=a["count_padding"],
        ),
    )  # fmt: skip


def _mean(build: Build, step: Step) -> None:
    source, made = build.info(step.inputs[0]), build.info(step.output)
    positions = math.prod(source.shape[1:])
    multiplier, shift = quantize_multiplier(source.scale / (made.scale * positions))
    layer = GlobalAvgPool(
        **build.base(step), multiplier=int(multiplier[0]), shift=int(shift[0]), keep=step.attributes["keep"]
    )
    build.put(layer, made)


def _concat(build: Build, step: Step) -> None:
    made, base = build.info(step.output), build.base(step)
    pairs = [rescale_multipliers((build.tensors[name].scale / made.scale,)) for name in base["inputs"]]
    layer = Concat(
        **base, **build.clamps(step), axis=step.attributes["axis"], multipliers=tuple(m[0] for m, _ in pairs),
        shifts=tuple(shift for _, shift in pairs),
    )  # fmt: skip
    build.put(layer, made)


def _view(build: Build, step: Step) -> None:
    (name,) = step.inputs
    source, index, fill = build.moved.get(name, (name, numbers(build.model.shapes[name]), ""))
    made, padded = moved(index, step.attributes["operator"], step.attributes["arguments"])
    if padded and fill and padded != fill:
        source, index, fill = build.tensor(name), numbers(build.model.shapes[name]), ""
        made, padded = moved(index, step.attributes["operator"], step.attributes["arguments"])
    given, wanted = build.scale(name), build.scale(step.output)
    if given != wanted:
        build.moved[f"{step.output}/before"] = (source, made, padded or fill)
        raise Unsupported(f"{step.attributes['operator']} between two scales", step.title, BY)
    build.moved[step.output] = (source, made, padded or fill)


def _softmax(build: Build, step: Step) -> None:
    axis, source = step.attributes["axis"], build.info(step.inputs[0])
    powers = np.floor(2.0 ** power_bits(source.shape[axis]) * np.exp(-np.arange(256) * source.scale) + 0.5)
    build.keeping(
        step, lambda base: Softmax(**base, axis=axis, powers=powers.astype(np.int32)), Scale(1 / 256, -128)
    )


def _normalize(build: Build, step: Step) -> None:
    build.keeping(step, lambda base: L2Normalize(**base, axis=step.attributes["axis"]), Scale(1 / 128, 0))


def _prelu(build: Build, step: Step) -> None:
    slopes = np.asarray(step.attributes["slopes"], np.float64).reshape(-1)
    factor = build.info(step.inputs[0]).scale / build.info(step.output).scale
    (positive, *sizes), shift = rescale_multipliers((factor, *(factor * np.abs(slopes))))
    signed = np.array(sizes, np.int32) * np.sign(slopes).astype(np.int32)
    build.put(
        Prelu(**build.base(step), slopes=signed, positive=positive, shift=shift), build.info(step.output)
    )


def _lookup(build: Build, step: Step) -> None:
    table = step.attributes["table"]
    build.put(Table(**build.base(step), table=table, function="table of the file"), build.info(step.output))


def _resize(build: Build, step: Step) -> None:
    a, shape = step.attributes, build.model.shapes[step.inputs[0]]
    sizes = (*(1,) * (3 - len(shape)), *shape[1:])
    wanted = (*(1,) * (2 - len(a["size"])), *a["size"])
    if a["mode"] == "nearest":
        places = [
            tuple(int(p * given // size) for p in range(size))
            for given, size in zip(sizes[-2:], wanted, strict=True)
        ]
        last = 3 - len(shape)
        build.keeping(step, lambda base: Take(**base, places=((), *places[last:])))
        return
    rows, columns = (
        between(given, size, a["aligned"]) for given, size in zip(sizes[-2:], wanted, strict=True)
    )
    build.keeping(
        step,
        lambda base: Interpolate(
            **base, rows=rows[0], rows_next=rows[1], rows_part=rows[2], columns=columns[0], columns_next=columns[1],
            columns_part=columns[2], aligned=a["aligned"],
        ),
    )  # fmt: skip


_RULES: Mapping[str, Callable[[Build, Step], None]] = {
    "conv": _conv,
    "linear": _linear,
    "function": _function,
    "quantize": _quantize,
    "constant": _constant,
    "pair": _pair,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "mean": _mean,
    "reduce": _reduce,
    "concat": _concat,
    "view": _view,
    "softmax": _softmax,
    "l2_normalize": _normalize,
    "prelu": _prelu,
    "lookup": _lookup,
    "resize": _resize,
}
