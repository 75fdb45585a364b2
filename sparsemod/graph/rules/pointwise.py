"""Activations and addition."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator


@aten("relu.default", "relu_.default", kinds=("relu",))
def _relu(call: Call) -> None:
    call.emit("relu", (call.tensor("self"),))


@aten("relu6.default", "relu6_.default", kinds=("relu6",))
def _relu6(call: Call) -> None:
    call.emit("relu6", (call.tensor("self"),))


@aten("hardtanh.default", "hardtanh_.default", kinds=("relu6",))
def _hardtanh(call: Call) -> None:
    _clip(call, call["min_val"], call["max_val"])


@aten(
    "clamp.default", "clamp_.default", "clamp_min.default", "clamp_min_.default", kinds=("relu", "relu6")
)  # fmt: skip
def _clamp(call: Call) -> None:
    _clip(call, call["min"], call.arguments.get("max"))


def _clip(call: Call, low: Any, high: Any) -> None:
    if low != 0 or high not in (None, 6):
        raise call.unsupported(f"limits {low}, {high}; supported are 0, none (relu) and 0, 6 (relu6)")
    call.emit("relu" if high is None else "relu6", (call.tensor("self"),))


@aten("add.Tensor", "add_.Tensor", kinds=("add",))
def _add(call: Call) -> None:
    if call["alpha"] != 1:
        raise call.unsupported("with alpha")
    if isinstance(call["other"], int | float) and call["other"] == 0:
        call.alias("self", copy=True)  # the start value of Python's sum()
        return
    if call.shape("self") != call.shape("other"):
        raise call.unsupported(f"shapes {call.shape('self')} and {call.shape('other')} differ")
    if call.layout("self") != call.layout("other"):
        raise call.unsupported(f"layouts {call.layout('self').name} and {call.layout('other').name} differ")
    call.emit("add", (call.tensor("self"), call.tensor("other")))


@FLOAT.register("relu")
def _run_relu(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.relu(inputs[0])


@FLOAT.register("relu6")
def _run_relu6(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.relu6(inputs[0])


@FLOAT.register("add")
def _run_add(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]
