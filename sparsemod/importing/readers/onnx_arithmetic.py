"""Translation of ONNX arithmetic and conditions to steps."""

from typing import Any

import numpy as np

from sparsemod.graph.functions import X, inside
from sparsemod.importing.readers.onnx_file import Call, Length, Numbers, Quantized, rule

_PAIRS = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Max": "maximum",
    "Min": "minimum",
}
_NUMPY: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
}


@rule(*_PAIRS)
def _pair(call: Call) -> Any:
    kind = call.node.op_type
    if len(call.inputs) != 2:
        raise call.builder.unsupported(f"{len(call.inputs)} inputs")
    first, second = call.inputs
    for number, other in ((first, second), (second, first)):
        if isinstance(number, Length) and isinstance(other, np.ndarray) and kind in ("Max", "Add"):
            return number.bounded(call, other)
    if isinstance(second, Length):
        if kind != "Div" or first != second.source:
            raise call.builder.unsupported("the length of a tensor; only a tensor divided by its own length")
        return call.emit("l2_normalize", (second.source,), axis=second.axis)
    for number, other in ((first, second), (second, first)):
        if (
            isinstance(number, Numbers)
            and isinstance(other, np.ndarray)
            and kind == "Add"
            and other.size == 1
        ):
            return Numbers(number.source, number.offset + int(other.reshape(-1)[0]))
    if isinstance(first, str) and isinstance(second, str):
        return call.emit("pair", (first, second), operator=_PAIRS[kind])
    constants = [isinstance(value, np.ndarray | Quantized) for value in (first, second)]
    if all(constants):
        a, b = call.constant(0), call.constant(1)
        if kind == "Div":
            return a // b if a.dtype.kind in "iu" else a / b
        return _NUMPY[kind](a, b)
    if not any(constants):
        raise call.builder.unsupported("whole numbers that depend on the input")
    reverse = constants[0]
    return _with_constant(call, call.constant(0 if reverse else 1), reverse, 1 if reverse else 0)


def _with_constant(call: Call, value: Any, reverse: bool, place: int) -> str:
    """Add arithmetic with a constant; a bias after a product becomes the product's bias."""
    name, rank = call.tensor(place), len(call.shape(place))
    array = np.asarray(value, np.float32)
    if array.size == 1:
        array = array.reshape(())
    elif array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim > rank:
        raise call.builder.unsupported(f"a constant of shape {array.shape}")
    operator = _PAIRS[call.node.op_type]
    last = call.builder.steps[-1] if call.builder.steps else None
    quantized = name in call.builder.scales
    if (
        operator == "add"
        and last is not None
        and last.output == name
        and last.kind == "linear"
        and not quantized
    ):
        float_weights = last.attributes.get("weight_scale") is None
        if (
            float_weights
            and last.attributes["bias"] is None
            and array.size in (1, len(last.attributes["weight"]))
        ):
            bias = np.broadcast_to(array.reshape(-1), (len(last.attributes["weight"]),)).copy()
            call.builder.steps.pop()
            return call.builder.emit("linear", last.inputs, call.output, {**last.attributes, "bias": bias})
    return call.emit("constant", (name,), operator=operator, value=array, reverse=reverse)


# -- conditions, of constants or of one tensor

_COMPARED: dict[str, tuple[Any, str, str]] = {
    "Greater": (np.greater, "gt", "lt"),
    "GreaterOrEqual": (np.greater_equal, "ge", "le"),
    "Less": (np.less, "lt", "gt"),
    "LessOrEqual": (np.less_equal, "le", "ge"),
}
_WHOLE: dict[str, Any] = {
    "Mod": np.mod,
    "Equal": np.equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
}


@rule(*_WHOLE)
def _of_constants(call: Call) -> Any:
    """Arithmetic of shapes."""
    return _WHOLE[call.node.op_type](*(call.constant(place) for place in range(len(call.inputs))))


@rule(*_COMPARED)
def _compared(call: Call) -> Any:
    of_constants, name, mirrored = _COMPARED[call.node.op_type]
    first, second = call.inputs
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return of_constants(first, second)
    turned = isinstance(first, np.ndarray)
    limit = np.asarray(call.constant(0 if turned else 1))
    if limit.size != 1:
        raise call.builder.unsupported(f"a comparison with {limit.size} numbers; with one")
    function = (mirrored if turned else name, X, float(limit.reshape(-1)[0]))
    return call.emit("function", (call.tensor(1 if turned else 0),), function=function)


@rule("Where")
def _where(call: Call) -> Any:
    """A choice is condition x first + (1 - condition) x second, all of them functions of one tensor."""
    if all(isinstance(value, np.ndarray) for value in call.inputs):
        return np.where(*call.inputs)
    source, condition = _function_of(call, call.tensor(0))
    chosen: list[Any] = []
    for place in (1, 2):
        value = call.given(place)
        if isinstance(value, str):
            root, function = _function_of(call, value)
            if root != source:
                raise call.builder.unsupported("its condition and its values must be functions of one tensor")
            chosen.append(function)
        else:
            number = np.asarray(call.constant(place))
            if number.size != 1:
                raise call.builder.unsupported(f"a constant of shape {number.shape}; one number")
            chosen.append(float(number.reshape(-1)[0]))
    return call.emit("function", (source,), function=("where", condition, *chosen))


def _function_of(call: Call, name: str) -> tuple[str, tuple[Any, ...]]:
    """Return (tensor, function): a tensor as a function of the tensor from which functions of one value compute it."""
    function: tuple[Any, ...] = X
    while name not in call.builder.scales:
        step = next(
            (one for one in call.builder.steps if one.output == name and one.kind == "function"), None
        )
        if step is None or step.inputs[0] in call.builder.scales:
            break
        function, name = inside(function, step.attributes["function"]), step.inputs[0]
    return name, function
