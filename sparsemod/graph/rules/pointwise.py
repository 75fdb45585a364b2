"""Activations and addition."""

from torch import Tensor
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator


@aten("relu.default", "relu_.default", kinds=("relu",))
def _relu(call: Call) -> None:
    call.unary("self", "relu")


@aten("relu6.default", "relu6_.default", kinds=("relu6",))
def _relu6(call: Call) -> None:
    call.unary("self", "relu6")


@FLOAT.register("relu")
def _run_relu(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.relu(inputs[0])


@FLOAT.register("relu6")
def _run_relu6(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.relu6(inputs[0])


@FLOAT.register("add")
def _run_add(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]
