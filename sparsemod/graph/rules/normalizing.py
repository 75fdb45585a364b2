"""Softmax, normalizations of groups of channels, and vectors of length 1."""

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.rules.vectors import arranged, vectors

EPSILON_MAX = 1e-4
"""The largest constant that keeps the length of a vector from zero, and that one step of int8 hides."""


@aten("softmax.int", "_softmax.default", "_safe_softmax.default", kinds=("softmax",))
def _softmax(call: Call) -> None:
    _along(call, "softmax", int(call["dim"]))


@aten("log_softmax.int", "_log_softmax.default", kinds=("log_softmax",))
def _log_softmax(call: Call) -> None:
    _along(call, "log_softmax", int(call["dim"]))


def _along(call: Call, kind: str, axis: int) -> None:
    """Append an operator on vectors along an axis, counted with batch."""
    rank = len(call.node.meta["val"].shape) - 1
    if axis % (rank + 1) == 0:
        raise call.unsupported("over the batch axis")
    tensor, channel, result = vectors(call, "self", axis % (rank + 1) - 1)
    made = call.emit(kind, (tensor,), {"axis": channel}, shape=call.walker.shapes[tensor])
    arranged(call, made, result)


@aten("layer_norm.default", "native_layer_norm.default", kinds=("group_norm",))
def _layer_norm(call: Call) -> None:
    """Translate to a normalization of the vectors of channels; several axes are one vector."""
    count, weight, bias = len(call["normalized_shape"]), call.constant("weight"), call.constant("bias")
    _, index = call.source(call.arguments["input"])
    rank = index.ndim
    if count > rank:
        raise call.unsupported("over the batch axis")
    if count == 1:
        tensor, channel, result = vectors(call, "input", rank - 1)
    else:
        tensor, channel, result = vectors(call, "input", rank - count, joined=count)
    attributes = {"axis": channel, "groups": 1, "whole": False, "epsilon": float(call["eps"])}
    made = call.emit(
        "group_norm", (tensor,), attributes, _flat(weight), _flat(bias), shape=call.walker.shapes[tensor]
    )
    arranged(call, made, result)
    _first(call)


@aten("group_norm.default", "native_group_norm.default", kinds=("group_norm",))
def _group_norm(call: Call) -> None:
    groups = call.arguments.get("num_groups", call.arguments.get("group"))
    _per_group(call, int(groups or 0), call.constant("weight"), call.constant("bias"))


@aten("instance_norm.default", kinds=("group_norm",))
def _instance_norm(call: Call) -> None:
    if not call["use_input_stats"]:
        raise call.unsupported("with running statistics: BatchNorm computes the same")
    _per_group(call, 0, call.constant("weight"), call.constant("bias"))


def _per_group(call: Call, groups: int, weight: Constant | None, bias: Constant | None) -> None:
    """Append a normalization of `groups` groups of channels, 0 for as many as channels, over all positions."""
    call.channels_first("input")
    if call.layout("input").channel != 0:
        raise call.unsupported(
            f"its input has layout {call.layout('input').name}: transpose it to channels first"
        )
    tensor, epsilon = call.tensor("input"), float(call["eps"])
    channels = call.walker.shapes[tensor][0]
    attributes = {"axis": 0, "groups": groups or channels, "whole": True, "epsilon": epsilon}
    call.emit("group_norm", (tensor,), attributes, weight, bias, shape=call.walker.shapes[tensor])
    _first(call)


def _flat(constant: Constant | None) -> Constant | None:
    """Return the constant as one axis; only a tensor with one axis keeps its name in the module."""
    if constant is None or constant.tensor.ndim == 1:
        return constant
    return Constant(constant.tensor.reshape(-1))


def _first(call: Call) -> None:
    """Keep the result; the mean and the variance that some calls return beside it are unknown."""
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (call.walker.values[call.node], None, None)


@aten("linalg_vector_norm.default", "norm.ScalarOpt_dim", kinds=("l2_normalize",))
def _norm(call: Call) -> None:
    """Translate x / max(norm(x), epsilon), the form of `functional.normalize`, whose steps lie between this call and the division."""
    given = call.arguments["self"]
    if call["dim"] == [1]:
        call.channels_first("self")
    layout = call.layout("self")
    power = call.arguments.get("ord", call.arguments.get("p", 2))
    axes = [axis % (layout.rank + 1) for axis in (call["dim"] or [])]
    if power not in (None, 2) or axes != [layout.channel + 1] or not call["keepdim"]:
        raise call.unsupported(
            "only as part of functional.normalize(x, dim=1), the length of each vector of channels"
        )
    division = _division(call.node, given)
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
    return torch.softmax(inputs[0], operator.attributes["axis"] + 1)


@FLOAT.register("log_softmax")
def _run_log_softmax(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return torch.log_softmax(inputs[0], operator.attributes["axis"] + 1)


@FLOAT.register("group_norm")
def _run_group_norm(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    a, x = operator.attributes, inputs[0].movedim(operator.attributes["axis"] + 1, 1)
    weight, bias = (
        None if key is None else graph.state[key].reshape(-1) for key in (operator.weight, operator.bias)
    )
    if a["whole"]:
        made = functional.group_norm(x, a["groups"], weight, bias, a["epsilon"])
    else:
        # every position is a sample of its own
        rows = x.flatten(2).movedim(2, 1) if x.ndim > 2 else x[:, None]
        made = functional.group_norm(rows.flatten(0, 1), a["groups"], weight, bias, a["epsilon"])
        made = made.reshape(rows.shape).movedim(1, 2).reshape(x.shape)
    return made.movedim(1, a["axis"] + 1)


@FLOAT.register("l2_normalize")
def _run_normalize(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.normalize(inputs[0], dim=operator.attributes["axis"] + 1)
