"""How each ATen operator becomes ours. To add one: a function with `@aten("name.overload", ...)`, and a row in `operators.KINDS` if its kind is new."""

import math
from collections.abc import Callable
from typing import Any

from sparsemod.graph.call import Call, Constant

Translation = Callable[[Call], None]
TRANSLATIONS: dict[str, Translation] = {}
"""ATen operator ("aten.conv2d.default") -> its translation."""


def aten(*names: str) -> Callable[[Translation], Translation]:
    """Decorator: the function translates these ATen operators."""

    def file(translation: Translation) -> Translation:
        TRANSLATIONS.update({f"aten.{name}": translation for name in names})
        return translation

    return file


def pair(value: Any) -> tuple[int, int]:
    """ATen's one or two numbers for rows and columns, as two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (int(numbers[0]), int(numbers[-1]))


def four(value: Any) -> tuple[int, int, int, int]:
    """ATen's symmetric padding as (top, bottom, left, right)."""
    rows, columns = pair(value)
    return (rows, rows, columns, columns)


@aten("conv2d.default", "conv2d.padding", "convolution.default")
def _conv(call: Call) -> None:
    weight, bias = call.constant("weight"), call.constant("bias")
    if weight is None or weight.tensor.ndim != 4 or len(call.shape("input")) != 3:
        raise call.unsupported("only two-dimensional convolutions")
    if call.arguments.get("transposed"):
        raise call.unsupported("transposed convolutions")
    kernel, dilation = pair(weight.tensor.shape[2:]), pair(call["dilation"])
    padding = call["padding"]
    if padding == "valid":
        padding = (0, 0, 0, 0)
    elif padding == "same":
        # As torch does: the odd one goes below and to the right.
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2)
    else:
        padding = four(padding)
    attributes = {
        "kernel": kernel, "stride": pair(call["stride"]), "padding": padding, "dilation": dilation, "groups": int(call["groups"]),
        "parameter": call.parameter(weight),
    }  # fmt: skip
    call.emit("conv", (call.tensor("input"),), attributes, weight, bias)


@aten("linear.default")
def _linear(call: Call) -> None:
    if len(call.shape("input")) != 1:
        raise call.unsupported(f"its input has shape {call.shape('input')}; flatten it first")
    weight = call.constant("weight")
    if weight is None:
        raise call.unsupported("without a weight")
    call.emit(
        "linear",
        (call.tensor("input"),),
        {"parameter": call.parameter(weight)},
        weight,
        call.constant("bias"),
    )


@aten("addmm.default", "mm.default", "matmul.default")
def _matmul(call: Call) -> None:
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "matmul": ("self", "other")}[call.operator]
    matrix = call.constant(names[1])
    bias = call.constant("self") if call.operator == "addmm" else None
    if matrix is None or len(call.shape(names[0])) != 1 or (bias is not None and bias.tensor.ndim != 1):
        raise call.unsupported("only vectors times a constant matrix")
    if (call.arguments.get("alpha", 1), call.arguments.get("beta", 1)) != (1, 1):
        raise call.unsupported("with alpha or beta")
    weight = Constant(matrix.tensor.t().contiguous(), matrix.transposed)
    call.emit("linear", (call.tensor(names[0]),), {"parameter": call.parameter(weight)}, weight, bias)


@aten("batch_norm.default", "native_batch_norm.default", "_native_batch_norm_legit_no_training.default")
def _batch_norm(call: Call) -> None:
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if call.arguments.get("training") or mean is None or variance is None:
        raise call.unsupported("it uses the batch's statistics (track_running_stats=False)")
    call.emit(
        "batch_norm", (call.tensor("input"),), {"epsilon": float(call["eps"])},
        call.constant("weight"), call.constant("bias"), mean=mean, variance=variance,
    )  # fmt: skip
    _first_of_several(call)


@aten("relu.default", "relu_.default")
def _relu(call: Call) -> None:
    call.emit("relu", (call.tensor("self"),))


@aten("relu6.default", "relu6_.default")
def _relu6(call: Call) -> None:
    call.emit("relu6", (call.tensor("self"),))


@aten("hardtanh.default", "hardtanh_.default")
def _hardtanh(call: Call) -> None:
    _clip(call, call["min_val"], call["max_val"])


@aten("clamp.default", "clamp_.default", "clamp_min.default", "clamp_min_.default")
def _clamp(call: Call) -> None:
    _clip(call, call["min"], call.arguments.get("max"))


def _clip(call: Call, low: Any, high: Any) -> None:
    if low != 0 or high not in (None, 6):
        raise call.unsupported(f"limits {low}, {high}; known are 0, none (relu) and 0, 6 (relu6)")
    call.emit("relu" if high is None else "relu6", (call.tensor("self"),))


@aten("max_pool2d.default", "max_pool2d_with_indices.default")
def _max_pool(call: Call) -> None:
    kernel = pair(call["kernel_size"])
    call.emit("max_pool", (call.tensor("self"),), {
        "kernel": kernel, "stride": pair(call["stride"] or kernel), "padding": four(call["padding"]),
        "dilation": pair(call["dilation"]), "ceil_mode": bool(call["ceil_mode"]),
    })  # fmt: skip
    _first_of_several(call)


def _first_of_several(call: Call) -> None:
    """Where ATen returns more than one tensor (indices, statistics), only the first is ours."""
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (
            call.walker.values[call.node],
            *[None] * (len(call.node.meta["val"]) - 1),
        )


@aten("avg_pool2d.default")
def _avg_pool(call: Call) -> None:
    if call["divisor_override"] is not None:
        raise call.unsupported("with divisor_override")
    kernel = pair(call["kernel_size"])
    if kernel == call.shape("self")[1:] and not any(pair(call["padding"])):
        # One window over everything: as a mean it gets a scale of its own, an average pool keeps its input's.
        call.emit("global_avg_pool", (call.tensor("self"),), {"keep": True})
        return
    call.emit("avg_pool", (call.tensor("self"),), {
        "kernel": kernel, "stride": pair(call["stride"] or kernel), "padding": four(call["padding"]),
        "ceil_mode": bool(call["ceil_mode"]), "count_include_pad": bool(call["count_include_pad"]),
    })  # fmt: skip


@aten("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def _adaptive_avg_pool(call: Call) -> None:
    if call.result_shape[1:] == (1, 1):
        call.emit("global_avg_pool", (call.tensor("self"),), {"keep": True})
    elif call.result_shape == call.shape("self"):
        call.alias("self", copy=True)
    else:
        call.emit("avg_pool", (call.tensor("self"),), {
            **_even_windows(call, call.result_shape), "ceil_mode": False, "count_include_pad": True,
        })  # fmt: skip


@aten("adaptive_max_pool2d.default")
def _adaptive_max_pool(call: Call) -> None:
    windows = _even_windows(call, call.result_shape)
    call.emit("max_pool", (call.tensor("self"),), {**windows, "dilation": (1, 1), "ceil_mode": False})
    _first_of_several(call)


def _even_windows(call: Call, result: tuple[int, ...]) -> dict[str, Any]:
    sizes = call.shape("self")[1:]
    if any(size % wanted for size, wanted in zip(sizes, result[1:], strict=True)):
        raise call.unsupported(f"{sizes} does not divide evenly into {result[1:]}")
    kernel = tuple(size // wanted for size, wanted in zip(sizes, result[1:], strict=True))
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0)}


@aten("mean.dim")
def _mean(call: Call) -> None:
    rank = len(call.shape("self")) + 1
    axes = sorted(axis % rank for axis in (call["dim"] or range(rank)))
    if rank != 4 or axes != [2, 3]:
        raise call.unsupported("only the mean over rows and columns")
    call.emit("global_avg_pool", (call.tensor("self"),), {"keep": bool(call["keepdim"])})


@aten("add.Tensor", "add_.Tensor")
def _add(call: Call) -> None:
    if call["alpha"] != 1:
        raise call.unsupported("with alpha")
    if isinstance(call["other"], int | float) and call["other"] == 0:
        call.alias("self", copy=True)  # what Python's sum() begins with
        return
    if call.shape("self") != call.shape("other"):
        raise call.unsupported(f"shapes {call.shape('self')} and {call.shape('other')} differ")
    call.emit("add", (call.tensor("self"), call.tensor("other")))


@aten("cat.default", "concat.default", "concatenate.default")
def _concat(call: Call) -> None:
    inputs = tuple(call.tensor_of(node) for node in call["tensors"])
    axis = call["dim"] % (len(call.result_shape) + 1)
    if axis == 0:
        raise call.unsupported("along the batch axis")
    call.emit("concat", inputs, {"axis": axis - 1})


@aten(
    "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default",
    "squeeze.default", "squeeze.dim", "squeeze.dims",
)  # fmt: skip
def _reshape(call: Call) -> None:
    given, made = call.shape("self"), call.result_shape
    if made == given:
        call.alias("self")
    elif made == (math.prod(given),):
        call.emit("flatten", (call.tensor("self"),))
        call.walker.storage[call.node] = call.walker.storage[call["self"]]
    else:
        raise call.unsupported(f"from {given} to {made}; only flattening to one axis")


@aten("dropout.default", "dropout_.default", "feature_dropout.default", "feature_dropout_.default", "alpha_dropout.default",
      "feature_alpha_dropout.default")  # fmt: skip
def _dropout(call: Call) -> None:
    if call["train"]:
        raise call.unsupported("it is active in evaluation mode")
    call.alias("input")


@aten("detach.default", "detach_.default", "contiguous.default", "alias.default")
def _same(call: Call) -> None:
    call.alias("self")


@aten("clone.default", "_to_copy.default", "to.dtype", "to.device", "to.dtype_layout")
def _copy(call: Call) -> None:
    if call.node.meta["val"].dtype != call.node.all_input_nodes[0].meta["val"].dtype:
        raise call.unsupported(f"conversion to {call.node.meta['val'].dtype}")
    call.alias("self", copy=True)


@aten("pad.default", "constant_pad_nd.default")
def _pad(call: Call) -> None:
    sizes = list(call["pad"]) + [0] * (4 - len(call["pad"]))
    value = call.arguments.get("value")
    constant = call.arguments.get("mode", "constant") == "constant" and value in (None, 0)
    if not constant or min(sizes) < 0 or any(sizes[4:]) or len(call.shape("self")) != 3:
        raise call.unsupported("only zeros around rows and columns")
    if not any(sizes):
        call.alias("self", copy=True)
        return
    left, right, top, bottom = (int(size) for size in sizes[:4])
    call.emit("pad", (call.tensor("self"),), {"padding": (top, bottom, left, right)})
