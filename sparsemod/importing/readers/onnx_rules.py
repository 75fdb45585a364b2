"""Translation of ONNX functions, poolings and reductions to steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sparsemod.graph.functions import X
from sparsemod.importing.readers.onnx_file import Call, Length, rule
from sparsemod.importing.readers.onnx_weighted import window
from sparsemod.importing.windows import pool

# -- functions

_PLAIN = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg",
    "Reciprocal": "reciprocal", "Erf": "erf", "HardSwish": "hardswish", "Mish": "mish", "Softsign": "softsign", "Sin": "sin",
    "Cos": "cos", "Atan": "atan", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
}  # fmt: skip


@rule(*_PLAIN)
def _plain(call: Call) -> Any:
    if isinstance(call.given(0), np.ndarray) and call.node.op_type == "Sqrt":
        return np.sqrt(call.given(0))
    return call.emit("function", (call.tensor(),), function=(_PLAIN[call.node.op_type], X))


@rule("Clip")
def _clip(call: Call) -> Any:
    bounds = []
    for place, name in ((1, "min"), (2, "max")):
        value = call.constant(place)
        bounds.append(call.get(name) if value is None else float(np.asarray(value).reshape(-1)[0]))
    if isinstance(call.given(0), Length):
        return call.given(0).bounded(call, *(bound for bound in bounds if bound is not None))
    if bounds == [0.0, 6.0]:
        return call.emit("function", (call.tensor(),), function=("relu6", X))
    return call.emit("function", (call.tensor(),), function=("clamp", X, *bounds))


_WITH_NUMBERS: dict[str, Callable[[Call], tuple[Any, ...]]] = {
    "LeakyRelu": lambda call: ("leaky_relu", X, float(call.get("alpha", 0.01))),
    "Elu": lambda call: ("elu", X, float(call.get("alpha", 1.0)), 1.0, 1.0),
    "Celu": lambda call: ("elu", X, float(call.get("alpha", 1.0)), 1.0, 1.0 / float(call.get("alpha", 1.0))),
    "Selu": lambda call: (
        "elu", X, float(call.get("alpha", 1.67326319)), float(call.get("gamma", 1.05070102)), 1.0
    ),
    "Softplus": lambda call: ("softplus", X, 1.0, 20.0),
    "Gelu": lambda call: ("gelu", X, call.get("approximate", "none")),
    "HardSigmoid": lambda call: (
        "clamp", ("affine", X, float(call.get("alpha", 0.2)), float(call.get("beta", 0.5))), 0.0, 1.0
    ),
    "ThresholdedRelu": lambda call: ("threshold", X, float(call.get("alpha", 1.0)), 0.0),
}  # fmt: skip


@rule(*_WITH_NUMBERS)
def _with_numbers(call: Call) -> str:
    return call.emit("function", (call.tensor(),), function=_WITH_NUMBERS[call.node.op_type](call))


@rule("PRelu")
def _prelu(call: Call) -> str:
    slopes = np.asarray(call.constant(1), np.float32).reshape(-1)
    channels = call.shape()[0]
    if slopes.size not in (1, channels):
        raise call.builder.unsupported(f"{slopes.size} slopes for {channels} channels")
    return call.emit("prelu", (call.tensor(),), slopes=np.broadcast_to(slopes, (channels,)).copy())


@rule("Pow")
def _pow(call: Call) -> str:
    exponent = np.asarray(call.constant(1)).reshape(-1)
    if exponent.size != 1:
        raise call.builder.unsupported("several exponents")
    function = ("square", X) if float(exponent[0]) == 2.0 else ("pow", X, float(exponent[0]))
    return call.emit("function", (call.tensor(),), function=function)


# -- pooling and means


@rule("MaxPool", "AveragePool")
def _pool(call: Call) -> Any:
    if len(call.shape()) not in (2, 3):
        raise call.builder.unsupported(f"samples of shape {call.shape()}")
    geometry = window(call, tuple(call.get("kernel_shape")))
    return pool(
        call.builder, "max_pool" if call.node.op_type == "MaxPool" else "avg_pool", call.tensor(), call.output,
        geometry["kernel"], geometry["stride"], geometry["padding"], dilation=geometry["dilation"],
        ceil=bool(call.get("ceil_mode", 0)), count_padding=bool(call.get("count_include_pad", 0)),
    )  # fmt: skip


@rule("GlobalAveragePool")
def _global_mean(call: Call) -> str:
    return call.emit("mean", (call.tensor(),), keep=True)


@rule("GlobalMaxPool")
def _global_max(call: Call) -> str:
    axes = tuple(range(1, len(call.shape())))
    return call.emit("reduce", (call.tensor(),), operator="max", axes=axes, keep=True)


@rule("ReduceProd")
def _product(call: Call) -> Any:
    """Arithmetic of shapes."""
    axes = call.integers(1, "axes")
    return np.prod(
        call.constant(0), axis=None if axes is None else tuple(axes), keepdims=bool(call.get("keepdims", 1))
    )


@rule("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(call: Call) -> str:
    rank, shape = len(call.shape()) + 1, call.shape()
    axes = call.integers(1, "axes")
    if not axes:
        raise call.builder.unsupported("without axes")
    places = tuple(sorted(call.axis(axis, rank) for axis in axes))
    operator, keep = call.node.op_type[6:].lower(), bool(call.get("keepdims", 1))
    if operator == "mean" and len(shape) > 1 and places == tuple(range(1, len(shape))):
        return call.emit("mean", (call.tensor(),), keep=keep)
    return call.emit("reduce", (call.tensor(),), operator=operator, axes=places, keep=keep)


@rule("Softmax", "LogSoftmax")
def _softmax(call: Call) -> str:
    if call.file.opset >= 13:
        axis = call.axis(int(call.get("axis", -1)))
    else:  # earlier versions take all axes from this one on together
        axis, shape = call.first_axis(int(call.get("axis", 1))), call.shape()
        if any(size > 1 for size in shape[axis + 1 :]):
            raise call.builder.unsupported(
                f"opset {call.file.opset}, over all axes of {shape[axis:]} together"
            )
    return call.emit(
        "softmax" if call.node.op_type == "Softmax" else "log_softmax", (call.tensor(),), axis=axis
    )


@rule("LpNormalization")
def _normalize(call: Call) -> str:
    if call.get("p", 2) != 2:
        raise call.builder.unsupported("only p = 2")
    return call.emit("l2_normalize", (call.tensor(),), axis=call.axis(int(call.get("axis", -1))))


@rule("ReduceL2")
def _length(call: Call) -> Length:
    axes = call.integers(1, "axes") or []
    if len(axes) != 1 or not call.get("keepdims", 1):
        raise call.builder.unsupported("over one axis that stays, as in a division of a tensor by its length")
    return Length(call.tensor(), call.axis(axes[0]))
