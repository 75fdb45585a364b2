"""Elementwise functions of one tensor."""

from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.functions import Function, X, evaluate
from sparsemod.graph.operators import Graph, Operator

_PLAIN = (
    "sigmoid", "tanh", "silu", "mish", "hardsigmoid", "hardswish", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "abs",
    "neg", "sign", "square", "erf", "sin", "cos", "atan", "round", "floor", "ceil",
)  # fmt: skip


def emit_table(call: Call, function: Function, tensor: str | None = None) -> str:
    """Append a function of one tensor, of argument `self` when no tensor is named."""
    if tensor is None:
        return call.unary("self", "table", {"function": function})
    # not the shape of the call's result: a divisor may be smaller than what it divides
    shape, layout = call.walker.shapes[tensor], call.layout_of(tensor).name
    return call.emit("table", (tensor,), {"function": function}, shape=shape, layout=layout)


@aten(*(f"{name}{end}.default" for name in _PLAIN for end in ("", "_")), kinds=("table",))
def _plain(call: Call) -> None:
    emit_table(call, (call.operator.removesuffix("_"), X))


@aten("log_sigmoid.default", "log_sigmoid_forward.default", kinds=("table",))
def _log_sigmoid(call: Call) -> None:
    made = emit_table(call, ("log_sigmoid", X))
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (made, None)


@aten("gelu.default", "gelu_.default", kinds=("table",))
def _gelu(call: Call) -> None:
    emit_table(call, ("gelu", X, str(call["approximate"])))


@aten("leaky_relu.default", "leaky_relu_.default", kinds=("table",))
def _leaky_relu(call: Call) -> None:
    emit_table(call, ("leaky_relu", X, float(call["negative_slope"])))


@aten("rrelu.default", "rrelu_.default", kinds=("table",))
def _rrelu(call: Call) -> None:
    emit_table(call, ("leaky_relu", X, (float(call["lower"]) + float(call["upper"])) / 2))


@aten("gt.Scalar", "ge.Scalar", "lt.Scalar", "le.Scalar", kinds=("table",))
def _compared(call: Call) -> None:
    """Translate a comparison with a number to a table of zeros and ones."""
    emit_table(call, (call.operator, X, float(call["other"])))


@aten("elu.default", "elu_.default", kinds=("table",))
def _elu(call: Call) -> None:
    emit_table(call, ("elu", X, float(call["alpha"]), float(call["scale"]), float(call["input_scale"])))


@aten("selu.default", "selu_.default", kinds=("table",))
def _selu(call: Call) -> None:
    emit_table(call, ("elu", X, 1.6732632423543772, 1.0507009873554805, 1.0))


@aten("celu.default", "celu_.default", kinds=("table",))
def _celu(call: Call) -> None:
    alpha = float(call["alpha"])
    emit_table(call, ("elu", X, alpha, 1.0, 1 / alpha))


@aten("softplus.default", kinds=("table",))
def _softplus(call: Call) -> None:
    emit_table(call, ("softplus", X, float(call["beta"]), float(call["threshold"])))


@aten("threshold.default", "threshold_.default", kinds=("table",))
def _threshold(call: Call) -> None:
    emit_table(call, ("threshold", X, float(call["threshold"]), float(call["value"])))


@aten("hardshrink.default", kinds=("table",))
def _hardshrink(call: Call) -> None:
    emit_table(call, ("hardshrink", X, float(call["lambd"])))


@aten("softshrink.default", kinds=("table",))
def _softshrink(call: Call) -> None:
    emit_table(call, ("softshrink", X, float(call["lambd"])))


@aten("pow.Tensor_Scalar", "pow_.Scalar", kinds=("table",))
def _pow(call: Call) -> None:
    emit_table(call, ("pow", X, float(call["exponent"])))


@aten("hardtanh.default", "hardtanh_.default", kinds=("relu", "relu6", "table"))
def _hardtanh(call: Call) -> None:
    _clip(call, call["min_val"], call["max_val"])


@aten(
    "clamp.default", "clamp_.default", "clamp_min.default", "clamp_min_.default", "clamp_max.default", "clamp_max_.default",
    kinds=("relu", "relu6", "table"),
)  # fmt: skip
def _clamp(call: Call) -> None:
    _clip(call, call.arguments.get("min"), call.arguments.get("max"))


def _clip(call: Call, low: Any, high: Any) -> None:
    """Emit limits: relu and relu6 when they are those, else a table."""
    if low == 0 and high in (None, 6):
        call.unary("self", "relu" if high is None else "relu6")
        return
    limits = tuple(None if limit is None else float(limit) for limit in (low, high))
    emit_table(call, ("clamp", X, *limits))


@aten("prelu.default", "_prelu_kernel.default", kinds=("prelu", "table"))
def _prelu(call: Call) -> None:
    weight = call.constant("weight")
    if weight is None:
        raise call.unsupported("without a weight")
    slopes = weight.tensor.detach().reshape(-1)
    if len(slopes) == 1:
        emit_table(call, ("leaky_relu", X, float(slopes[0])))
        return
    call.channels_first("self")
    if call.layout("self").channel != 0 or len(slopes) != call.shape("self")[0]:
        raise call.unsupported(f"{len(slopes)} slopes for an input of shape {call.shape('self')}")
    call.emit("prelu", (call.tensor("self"),), weight=Constant(slopes, _parameter(call, weight)))


def _parameter(call: Call, weight: Constant) -> str | None:
    """Return the module's name of the slopes; torch may reshape them before the call."""
    node = call.arguments["weight"]
    while weight.key is None and "view" in str(node.target) and isinstance(node.args[0], Node):
        node = node.args[0]
        weight = call.walker.values[node]
    return weight.key


@FLOAT.register("table")
def _run_table(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return evaluate(operator.attributes["function"], inputs[0])


@FLOAT.register("prelu")
def _run_prelu(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return functional.prelu(inputs[0], graph.state[str(operator.weight)].reshape(-1))
