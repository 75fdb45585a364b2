"""Softmax, and vectors of length 1."""

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator

EPSILON_MAX = 1e-4
"""The largest constant that keeps the length of a vector from zero, and that one step of int8 hides."""


@aten("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default", kinds=("softmax",))
def _softmax(call: Call) -> None:
    layout = call.layout("self")
    axis = int(call["dim"]) % (layout.rank + 1)
    if axis - 1 != layout.channel:
        raise call.unsupported(f"along axis {axis}; only along the channels, axis {layout.channel + 1}")
    logarithm = "log" in call.operator
    call.emit("softmax", (call.tensor("self"),), {"axis": layout.channel, "logarithm": logarithm})


@aten("linalg_vector_norm.default", "norm.ScalarOpt_dim", kinds=("l2_normalize",))
def _norm(call: Call) -> None:
    """Translate x / max(norm(x), epsilon), the form of `functional.normalize`, whose steps lie between this call and the division."""
    layout = call.layout("self")
    power = call.arguments.get("ord", call.arguments.get("p", 2))
    axes = [axis % (layout.rank + 1) for axis in (call["dim"] or [])]
    if power not in (None, 2) or axes != [layout.channel + 1] or not call["keepdim"]:
        raise call.unsupported(
            "only as part of functional.normalize(x, dim=1), the length of each vector of channels"
        )
    division = _division(call.node, call.arguments["self"])
    if division is None:
        hint = f"x divided by its length, with an epsilon of at most {EPSILON_MAX}"
        raise call.unsupported(f"only as part of functional.normalize(x, dim=1): {hint}")
    for node in division:
        call.walker.skipped[node] = division[-1]
    call.walker.values[call.node] = None
    call.walker.normalized[division[-1]] = (call.tensor("self"), layout.channel)


def _division(norm: Node, x: object) -> list[Node] | None:
    """Return the nodes from the norm to the division of `x` by it; None for other uses of the norm.

    Between the two, the norm may be repeated, and limited from below or increased by a constant of at most EPSILON_MAX.
    """
    found, node = [], norm
    for _ in range(4):
        users = list(node.users)
        if len(users) != 1:
            return None
        length, node = node, users[0]
        found.append(node)
        name = str(node.target)
        if name.startswith("aten.div"):
            return found if node.args[0] is x and node.args[1] is length else None
        if not name.startswith("aten.expand") and not _keeps_length(node):
            return None
    return None


def _keeps_length(node: Node) -> bool:
    """Whether the node limits its input from below, or increases it, by a constant of at most EPSILON_MAX."""
    name, *others = str(node.target), *node.args[1:], *node.kwargs.values()
    if not name.startswith(
        ("aten.clamp_min.default", "aten.clamp.default", "aten.add.Tensor", "aten.add.Scalar")
    ):
        return False
    return (
        len(others) == 1
        and isinstance(others[0], int | float)
        and 0 <= others[0] <= EPSILON_MAX
        and "max" not in node.kwargs
    )


@FLOAT.register("softmax")
def _run_softmax(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    axis = operator.attributes["axis"] + 1
    if operator.attributes["logarithm"]:
        return torch.log_softmax(inputs[0], axis)
    return torch.softmax(inputs[0], axis)


@FLOAT.register("l2_normalize")
def _run_normalize(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.normalize(inputs[0], dim=operator.attributes["axis"] + 1)
