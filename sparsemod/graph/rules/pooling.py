"""Pooling."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from sparsemod.errors import Unsupported
from sparsemod.graph.aten import aten, first_of_several, four, pair, positions
from sparsemod.graph.call import Call
from sparsemod.graph.execute import FLOAT, as_image
from sparsemod.graph.operators import Graph, Operator


@aten(
    "max_pool1d.default", "max_pool2d.default", "max_pool2d_with_indices.default", kinds=("max_pool",)
)  # fmt: skip
def _max_pool(call: Call) -> None:
    axes = positions(call, "self")
    call.emit("max_pool", (call.tensor("self"),), {
        **_window(call, axes), "dilation": pair(call["dilation"], axes), "ceil_mode": bool(call["ceil_mode"]),
    })  # fmt: skip
    first_of_several(call)


@aten("avg_pool1d.default", "avg_pool2d.default", kinds=("avg_pool", "global_avg_pool"))
def _avg_pool(call: Call) -> None:
    if call.arguments.get("divisor_override") is not None:
        raise call.unsupported("with divisor_override: multiply by a number instead")
    window = _window(call, positions(call, "self"))
    layout, shape = call.layout("self"), call.shape("self")
    if window["kernel"] == layout.image(shape)[1:] and not any(window["padding"]):
        # One window over the whole input. A global mean gets its own scale; an average pool keeps its input's scale.
        call.emit("global_avg_pool", (call.tensor("self"),), {"keep": True})
        return
    call.emit("avg_pool", (call.tensor("self"),), {
        **window, "ceil_mode": bool(call["ceil_mode"]),
        "count_include_pad": bool(call["count_include_pad"]),
    })  # fmt: skip


def _window(call: Call, axes: int) -> dict[str, Any]:
    kernel = pair(call["kernel_size"], axes)
    stride = pair(call["stride"], axes) if call["stride"] else kernel
    return {"kernel": kernel, "stride": stride, "padding": four(call["padding"], axes)}


@aten(
    "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default",
    kinds=("global_avg_pool", "avg_pool"),
)  # fmt: skip
def _adaptive_avg_pool(call: Call) -> None:
    positions(call, "self")
    if set(call.result_shape[1:]) == {1}:
        call.emit("global_avg_pool", (call.tensor("self"),), {"keep": True})
    elif call.result_shape == call.shape("self"):
        call.alias("self", copy=True)
    else:
        call.emit("avg_pool", (call.tensor("self"),), {
            **_even_windows(call, call.result_shape), "ceil_mode": False, "count_include_pad": True,
        })  # fmt: skip


@aten("adaptive_max_pool1d.default", "adaptive_max_pool2d.default", kinds=("max_pool",))
def _adaptive_max_pool(call: Call) -> None:
    positions(call, "self")
    windows = _even_windows(call, call.result_shape)
    call.emit("max_pool", (call.tensor("self"),), {**windows, "dilation": (1, 1), "ceil_mode": False})
    first_of_several(call)


def _even_windows(call: Call, result: tuple[int, ...]) -> dict[str, Any]:
    sizes = call.shape("self")[1:]
    if any(size % target for size, target in zip(sizes, result[1:], strict=True)):
        raise call.unsupported(
            f"{sizes} does not divide evenly into {result[1:]}; AvgPool with a kernel and a stride does"
        )
    kernel = pair([size // target for size, target in zip(sizes, result[1:], strict=True)], len(sizes))
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0)}


def _symmetric(operator: Operator) -> tuple[int, int]:
    top, bottom, left, right = operator.window.padding
    if (top, left) != (bottom, right):
        raise Unsupported(
            operator.kind, operator.name, FLOAT.title, hint="pooling needs equal padding on both sides"
        )
    return top, left


@FLOAT.register("max_pool")
def _run_max_pool(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    w, x = operator.window, as_image(graph, operator, inputs[0])
    return functional.max_pool2d(x, w.kernel, w.stride, _symmetric(operator), w.dilation, w.ceil)


@FLOAT.register("avg_pool")
def _run_avg_pool(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    w, x = operator.window, as_image(graph, operator, inputs[0])
    counted = operator.attributes["count_include_pad"]
    return functional.avg_pool2d(x, w.kernel, w.stride, _symmetric(operator), w.ceil, counted)


@FLOAT.register("global_avg_pool")
def _run_mean(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    axes = [axis + 1 for axis in graph.layout(operator.inputs[0]).positions]
    return inputs[0].mean(axes, keepdim=operator.attributes["keep"])
