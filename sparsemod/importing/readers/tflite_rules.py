"""Translation of TensorFlow Lite operators to steps."""

import math
from typing import Any

import numpy as np

from sparsemod.graph.functions import X
from sparsemod.importing.readers.tflite_file import IMAGE, Call, Numbers, rule
from sparsemod.importing.windows import pool, same_padding

# -- layers with weights


def _weights(call: Call, place: int, weight: Any, axis: int) -> dict[str, Any]:
    """Return weight and weight_scale; `weight` has the outputs first, `axis` is their axis in the file."""
    scales = call.scales(place)
    if weight.dtype.kind == "f":
        return {"weight": np.asarray(weight, np.float32)}
    if weight.dtype == np.uint8:
        if scales is None or np.any(scales[1] != 128):
            raise call.builder.unsupported("uint8 weights with a zero point: convert the model to int8")
        weight = (weight.astype(np.int16) - 128).astype(np.int8)
    elif weight.dtype != np.int8 or scales is None:
        raise call.builder.unsupported(f"weights of type {weight.dtype}")
    elif np.any(scales[1]):
        raise call.builder.unsupported("asymmetric weights")
    if weight.min() < -127:
        raise call.builder.unsupported("a weight of -128: quantize to -127 to 127")
    if call.tensor() not in call.builder.scales:
        scale, _, quantized_axis = scales
        if len(scale) > 1 and quantized_axis != axis:
            raise call.builder.unsupported(f"scales of weights along axis {quantized_axis}")
        real = weight.astype(np.float32) * scale.reshape(-1, *[1] * (weight.ndim - 1))
        call.builder.notes.append(f"{call.builder.title}: int8 weights of a float layer, read as floats")
        return {"weight": real}
    if len(scales[0]) > 1 and scales[2] != axis:
        raise call.builder.unsupported(f"scales of weights along axis {scales[2]}")
    return {"weight": np.ascontiguousarray(weight), "weight_scale": scales[0]}


def _bias(call: Call, place: int, weights: dict[str, Any]) -> Any:
    if call.given(place) is None:
        return None
    bias = call.raw(place).reshape(-1)
    if "weight_scale" in weights and bias.dtype != np.int32:
        raise call.builder.unsupported(f"a bias of type {bias.dtype} in an int8 layer")
    return bias if "weight_scale" in weights else call.real(place).reshape(-1)


def _geometry(call: Call, kernel: tuple[int, int], dilated: bool = True) -> dict[str, Any]:
    shape = call.shape()
    if len(shape) != 3:
        raise call.builder.unsupported(f"samples of shape {shape}, not images")
    stride = (int(call.option("strideH", 1)), int(call.option("strideW", 1)))
    dilation = (
        (int(call.option("dilationHFactor", 1)), int(call.option("dilationWFactor", 1)))
        if dilated
        else (1, 1)
    )
    if min(*stride, *dilation, *kernel) < 1:
        raise call.builder.broken(f"kernel {kernel}, stride {stride}, dilation {dilation}")
    same = call.option("padding") == call.file.schema.Padding.SAME
    padding = same_padding((shape[1], shape[2]), kernel, stride, dilation) if same else (0, 0, 0, 0)
    return {"stride": stride, "dilation": dilation, "padding": padding}


@rule("CONV_2D")
def _conv(call: Call) -> str:
    raw = call.raw(1)
    if raw.ndim != IMAGE:
        raise call.builder.broken(f"weights of shape {raw.shape}")
    weights = _weights(call, 1, raw.transpose(0, 3, 1, 2), 0)
    geometry = _geometry(call, raw.shape[1:3])
    per_group = weights["weight"].shape[1]
    channels = call.shape()[0]
    if channels % per_group:
        raise call.builder.broken(f"{per_group} channels of weights for {channels} channels")
    bias = _bias(call, 2, weights)
    return call.emit(
        "conv",
        (call.tensor(),),
        **weights,
        bias=bias,
        groups=channels // per_group,
        clamp=call.clamp(),
        **geometry,
    )


@rule("DEPTHWISE_CONV_2D")
def _depthwise(call: Call) -> str:
    raw = call.raw(1)
    channels = call.shape()[0]
    if raw.ndim != IMAGE or raw.shape[0] != 1 or raw.shape[3] % channels:
        raise call.builder.broken(f"weights of shape {raw.shape} for {channels} channels")
    weights = _weights(call, 1, raw.transpose(3, 0, 1, 2), 3)
    geometry = _geometry(call, raw.shape[1:3])
    bias = _bias(call, 2, weights)
    return call.emit(
        "conv", (call.tensor(),), **weights, bias=bias, groups=channels, clamp=call.clamp(), **geometry
    )


@rule("FULLY_CONNECTED")
def _linear(call: Call) -> str:
    raw, shape = call.raw(1), call.shape()
    each = bool(call.option("keepNumDims")) and len(shape) > 1
    rows = len(shape) == 2 and not each and raw.ndim == 2 and shape[1] == raw.shape[1] != math.prod(shape)
    if raw.ndim != 2 or (each and len(shape) != 2):
        raise call.builder.unsupported(f"weights of shape {raw.shape} on samples of shape {shape}")
    weights = _weights(call, 1, raw, 0)
    x = call.tensor()
    if len(shape) > 1 and not each and not rows:
        x = call.view("flatten", call.in_file_order(), f"{call.output}/vector")
        call.builder.scales.update(
            {x: call.builder.scales[call.tensor()]} if call.tensor() in call.builder.scales else {}
        )
    bias = _bias(call, 2, weights)
    return call.emit("linear", (x,), **weights, bias=bias, clamp=call.clamp())


@rule("BATCH_MATMUL")
def _matmul(call: Call) -> str:
    if max(call.rank(0), call.rank(1)) > IMAGE:
        raise call.builder.unsupported("of tensors of more than 4 axes")
    sides = []
    for place, turned in ((0, call.option("adjX")), (1, call.option("adjY"))):
        x, count = call.in_file_order(place), call.rank(place) - 1
        order = (*range(count - 2), count - 1, count - 2)
        sides.append(call.view("transpose", x, f"{call.output}/turned{place}", order=order) if turned else x)
    made = call.builder.emit("matmul", (sides[0], sides[1]), f"{call.output}/product")
    if call.rank() != IMAGE:
        return call.scaled(made)
    return call.view("transpose", call.scaled(made), order=(2, 0, 1))


@rule("TRANSPOSE_CONV")
def _transposed(call: Call) -> str:
    raw = call.real(1)
    x = call.tensor(2)
    shape, wanted = call.builder.shapes[x], [int(n) for n in call.raw(0).reshape(-1)]
    stride = (int(call.option("strideH", 1)), int(call.option("strideW", 1)))
    padding, extra = [], []
    for axis in (0, 1):
        cut = (shape[axis + 1] - 1) * stride[axis] + raw.shape[axis + 1] - wanted[axis + 1]
        padding += [max(0, cut) // 2, max(0, cut) - max(0, cut) // 2]
        extra.append(max(0, -cut))
    if any(not 0 <= e < s for e, s in zip(extra, stride, strict=True)):
        raise call.builder.unsupported(f"to {wanted[1:3]} positions with stride {stride}")
    bias = None if call.given(3) is None else call.real(3)
    return call.emit(
        "conv_transpose", (x,), weight=raw.transpose(3, 0, 1, 2).astype(np.float32), bias=bias, stride=stride,
        dilation=(1, 1), padding=tuple(padding), output_padding=tuple(extra), groups=1, clamp=call.clamp(),
    )  # fmt: skip


# -- functions

_PLAIN: dict[str, tuple[Any, ...]] = {
    "RELU": ("relu", X), "RELU6": ("relu6", X), "RELU_N1_TO_1": ("clamp", X, -1.0, 1.0), "RELU_0_TO_1": ("clamp", X, 0.0, 1.0),
    "LOGISTIC": ("sigmoid", X), "TANH": ("tanh", X), "HARD_SWISH": ("hardswish", X), "EXP": ("exp", X), "ABS": ("abs", X),
    "SQRT": ("sqrt", X), "RSQRT": ("rsqrt", X), "SQUARE": ("square", X), "NEG": ("neg", X), "LOG": ("log", X), "SIN": ("sin", X),
    "COS": ("cos", X), "FLOOR": ("floor", X), "CEIL": ("ceil", X), "ROUND": ("round", X), "SIGN": ("sign", X),
    "ELU": ("elu", X, 1.0, 1.0, 1.0),
}  # fmt: skip


@rule(*_PLAIN)
def _plain(call: Call) -> str:
    return call.emit("function", (call.tensor(),), function=_PLAIN[call.kind])


@rule("LEAKY_RELU")
def _leaky(call: Call) -> str:
    return call.emit(
        "function", (call.tensor(),), function=("leaky_relu", X, float(call.option("alpha", 0.0)))
    )


@rule("GELU")
def _gelu(call: Call) -> str:
    how = "tanh" if call.option("approximate") else "none"
    return call.emit("function", (call.tensor(),), function=("gelu", X, how))


@rule("PRELU")
def _prelu(call: Call) -> str:
    slopes = call.real(1).reshape(-1)
    channels = call.shape()[0]
    if len(slopes) not in (1, channels):
        raise call.builder.unsupported(f"{len(slopes)} slopes for {channels} channels")
    return call.emit("prelu", (call.tensor(),), slopes=np.broadcast_to(slopes, (channels,)).copy())


@rule("QUANTIZE")
def _quantize(call: Call) -> str:
    return call.emit("quantize", (call.tensor(),))


@rule("DEQUANTIZE")
def _dequantize(call: Call) -> Any:
    if isinstance(call.given(0), np.ndarray):
        return call.real(0)
    return call.tensor()


@rule("CAST")
def _cast(call: Call) -> Any:
    if isinstance(call.given(0), np.ndarray):
        raise call.builder.unsupported("of a constant")
    if (
        call.option("outDataType") != call.file.schema.TensorType.INT32
        or call.tensor() not in call.builder.scales
    ):
        raise call.builder.unsupported("other than from int8 to int32, as the index of a table")
    return Numbers(call.tensor(), 0)


# -- arithmetic

_PAIRS = {
    "ADD": "add", "SUB": "subtract", "MUL": "multiply", "DIV": "divide", "MAXIMUM": "maximum", "MINIMUM": "minimum",
}  # fmt: skip


@rule(*_PAIRS)
def _pair(call: Call) -> Any:
    first, second = call.given(0), call.given(1)
    if (
        isinstance(first, Numbers)
        and isinstance(second, np.ndarray)
        and call.kind == "ADD"
        and second.size == 1
    ):
        return Numbers(first.source, first.offset + int(second.reshape(-1)[0]))
    if isinstance(first, str) and isinstance(second, str):
        return call.emit("pair", (first, second), operator=_PAIRS[call.kind], clamp=call.clamp())
    reverse = isinstance(first, np.ndarray)
    place, constant = (1, 0) if reverse else (0, 1)
    name, value = call.tensor(place), call.real(constant)
    if value.size == 1:
        value = value.reshape(())
    elif call.rank(place) == IMAGE:
        whole = value.reshape((1,) * (IMAGE - value.ndim) + value.shape)
        if whole.shape[0] != 1:
            raise call.builder.unsupported(f"a constant of shape {value.shape}")
        value = whole[0].transpose(2, 0, 1)
    elif value.ndim == call.rank(place) and value.shape[0] == 1:
        value = value[0]
    bounds = call.clamp()
    if bounds == (None, None):
        return call.emit("constant", (name,), operator=_PAIRS[call.kind], value=value, reverse=reverse)
    raw = call.emit(
        "constant", (name,), f"{call.output}/raw", operator=_PAIRS[call.kind], value=value, reverse=reverse
    )
    return call.emit("function", (raw,), function=("clamp", X, *bounds))


# -- pooling and means


@rule("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(call: Call) -> str:
    kernel = (int(call.option("filterHeight", 1)), int(call.option("filterWidth", 1)))
    geometry = _geometry(call, kernel, dilated=False)
    bounds = call.clamp()
    plain = bounds == (None, None)
    kind = "max_pool" if call.kind == "MAX_POOL_2D" else "avg_pool"
    output = call.output if plain else f"{call.output}/pooled"
    made = pool(call.builder, kind, call.tensor(), output, kernel, geometry["stride"], geometry["padding"])
    scale = call.file.scale(call.outputs[0])
    if scale is not None:
        call.builder.scales[made] = scale
    return made if plain else call.emit("function", (made,), function=("clamp", X, *bounds))


@rule("MEAN", "SUM", "REDUCE_MAX")
def _reduce(call: Call) -> str:
    axes = tuple(sorted(call.axis(axis) for axis in call.integers(1)))
    keep, shape = bool(call.option("keepDims")), call.shape()
    if (
        call.kind == "MEAN"
        and len(shape) > 1
        and axes == tuple(range(1, len(shape)))
        and call.rank() == IMAGE
    ):
        return call.emit("mean", (call.tensor(),), keep=keep)
    if call.rank() == IMAGE and not keep and len(axes) < 2:
        # the remaining axes have the file's order
        x = call.in_file_order()
        moved = {0: 2, 1: 0, 2: 1}
        axes = tuple(sorted(moved[axis] for axis in axes))
    else:
        x = call.tensor()
    operator = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max"}[call.kind]
    return call.emit("reduce", (x,), operator=operator, axes=axes, keep=keep)


@rule("SOFTMAX", "LOG_SOFTMAX")
def _softmax(call: Call) -> str:
    if call.kind == "SOFTMAX" and float(call.option("beta", 1.0)) != 1.0:
        raise call.builder.unsupported(f"beta {call.option('beta')}")
    axis = call.axis(-1)
    return call.emit("softmax" if call.kind == "SOFTMAX" else "log_softmax", (call.tensor(),), axis=axis)


@rule("L2_NORMALIZATION")
def _normalize(call: Call) -> str:
    return call.emit("l2_normalize", (call.tensor(),), axis=call.axis(-1))
