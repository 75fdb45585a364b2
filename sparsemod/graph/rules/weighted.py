"""Convolutions, linear layers and batch norm."""

import math
from typing import Any

import numpy as np
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from sparsemod.errors import InvalidInput
from sparsemod.graph.aten import aten, first_of_several, four, pair, positions
from sparsemod.graph.call import Call, Constant, Moved
from sparsemod.graph.execute import FLOAT, as_image
from sparsemod.graph.macs import MACS
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.shaping import transposed
from sparsemod.graph.rules.transposed import emit_transposed
from sparsemod.graph.rules.vectors import arranged, vectors


@aten(
    "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding", "convolution.default", "_convolution.default",
    kinds=("conv",),
)  # fmt: skip
def _conv(call: Call) -> None:
    weight, bias = call.constant("weight"), call.constant("bias")
    axes = positions(call, "input")
    if weight is None or weight.tensor.ndim != axes + 2:
        raise call.unsupported("only convolutions over one or two axes of a constant weight")
    if call.arguments.get("transposed"):
        emit_transposed(
            call, weight, bias, pair(call["stride"], axes), four(call["padding"], axes)[::2], pair(call["dilation"], axes),
            int(call["groups"]),
        )  # fmt: skip
        return
    kernel, dilation = pair(weight.tensor.shape[2:], axes), pair(call["dilation"], axes)
    padding = call["padding"]
    if padding == "valid":
        padding = (0, 0, 0, 0)
    elif padding == "same":
        # As in torch, an odd padding row or column goes to the bottom or right.
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2)
    else:
        padding = four(padding, axes)
    attributes = {
        "kernel": kernel, "stride": pair(call["stride"], axes), "padding": padding, "dilation": dilation,
        "groups": int(call["groups"]), "parameter": call.parameter(weight),
    }  # fmt: skip
    call.emit("conv", (call.tensor("input"),), attributes, weight, bias)


@aten("linear.default", kinds=("linear", "conv", "transpose"))
def _linear(call: Call) -> None:
    weight = call.constant("weight")
    if weight is None:
        raise call.unsupported("without a weight")
    argument = call.arguments["input"]
    value = call.walker.values[argument] if isinstance(argument, Node) else argument
    if isinstance(value, Moved) or len(call.shape("input")) == 3:
        _linear_of_vectors(call, weight)
        return
    if call.layout("input").name == "channels-length":
        call.relayout("input", "time-features")  # the last axis holds the features
    layout = call.layout("input")
    if layout.name == "time-features":
        linear_per_step(call, call.tensor("input"), weight, call.constant("bias"))
        return
    if layout.positions:
        raise call.unsupported(f"its input has shape {call.shape('input')}; flatten it first")
    attributes = {"parameter": call.parameter(weight)}
    call.emit("linear", (call.tensor("input"),), attributes, weight, call.constant("bias"))


def _linear_of_vectors(call: Call, weight: Constant) -> None:
    """Translate a linear layer on the last axis of a view or an image."""
    _, index = call.source(call.arguments["input"])
    tensor, channel, result = vectors(call, "input", index.ndim - 1)
    shape, outputs, bias = call.walker.shapes[tensor], len(weight.tensor), call.constant("bias")
    if len(shape) == 1:
        made = call.emit(
            "linear", (tensor,), {"parameter": call.parameter(weight)}, weight, bias, shape=(outputs,)
        )
    elif channel == 0:
        made = call.emit("conv", (tensor,), _one_tap(call, weight), weight, bias, shape=(outputs, *shape[1:]))
    else:
        made = linear_per_step(call, tensor, weight, bias)
    if result is not None:
        first, step = result[..., :1], math.prod(shape[1:]) if channel == 0 else 1
        # the number of a vector's first element is its place times the number of channels, or its position
        start = first if channel == 0 else first // shape[channel] * outputs
        result = start + step * np.arange(outputs)
    arranged(call, made, result)


def _one_tap(call: Call, weight: Constant) -> dict[str, Any]:
    return {
        "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1,
        "parameter": call.parameter(weight),
    }  # fmt: skip


def linear_per_step(call: Call, tensor: str, weight: Constant, bias: Constant | None) -> str:
    """Translate a linear layer on each time step's features to a convolution of one tap; the transposes around it are views."""
    steps, _ = call.walker.shapes[tensor]
    sequence, shape = transposed(call, tensor), (len(weight.tensor), steps)
    convolved = call.emit(
        "conv", (sequence,), _one_tap(call, weight), weight, bias, shape=shape, layout="channels-length"
    )
    return transposed(call, convolved)


@aten(
    "batch_norm.default", "native_batch_norm.default", "_native_batch_norm_legit_no_training.default",
    kinds=("batch_norm",),
)  # fmt: skip
def _batch_norm(call: Call) -> None:
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if call.arguments.get("training") or mean is None or variance is None:
        raise call.unsupported("it uses the batch's statistics (track_running_stats=False)")
    call.channels_first("input")
    if call.layout("input").channel != 0:
        raise call.unsupported(
            f"its input has layout {call.layout('input').name}: transpose it to channels first"
        )
    call.emit(
        "batch_norm", (call.tensor("input"),), {"epsilon": float(call["eps"])},
        call.constant("weight"), call.constant("bias"), mean=mean, variance=variance,
    )  # fmt: skip
    first_of_several(call)


def _state(graph: Graph, key: str | None) -> Tensor | None:
    return graph.state[key] if key else None


def _weight(graph: Graph, operator: Operator) -> Tensor:
    if operator.weight is None:
        raise InvalidInput("operator.weight", None, f"{operator.kind} needs a weight")
    return graph.state[operator.weight]


@FLOAT.register("conv")
def _run_conv(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    window, weight, x = operator.window, _weight(graph, operator), as_image(graph, operator, inputs[0])
    top, bottom, left, right = window.padding
    if any(window.padding):
        x = functional.pad(x, (left, right, top, bottom))
    filters = weight.reshape(*weight.shape[:2], *window.kernel)  # filters of sequences have fewer axes
    bias = _state(graph, operator.bias)
    return functional.conv2d(x, filters, bias, window.stride, 0, window.dilation, window.groups)


@FLOAT.register("linear")
def _run_linear(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.linear(inputs[0], _weight(graph, operator), _state(graph, operator.bias))


@FLOAT.register("batch_norm")
def _run_batch_norm(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    a: Any = operator.attributes
    mean, variance = graph.state[a["mean"]], graph.state[a["variance"]]
    weight, bias = _state(graph, operator.weight), _state(graph, operator.bias)
    return functional.batch_norm(inputs[0], mean, variance, weight, bias, eps=a["epsilon"])


@MACS.rules("conv", "linear")
def _macs(graph: Graph, operator: Operator) -> int:
    # Every output element costs its channel's whole filter; the filter reads only the inputs of its group.
    return _weight(graph, operator).numel() * math.prod(graph.image(operator.output)[1:])
