"""ONNX operators GRU and LSTM. Their outputs are (T, directions, N, units), and (directions, N, units) after the last step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.importing.readers.onnx_file import Call, Moved, rule

_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
"""Place in the file of each of torch's gates: ONNX has update, reset, new, and input, output, forget, cell."""
_FUNCTIONS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@rule("GRU", "LSTM")
def _recurrent(call: Call) -> list[Any]:
    kind, builder = call.node.op_type, call.builder
    direction = call.get("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    if direction not in ("forward", "reverse", "bidirectional"):
        raise builder.broken(f"direction {direction!r}")
    _check(call, kind, count)
    first = bool(call.get("layout", 0))
    value = call.given(0)
    if first:
        x = call.tensor()
    elif isinstance(value, Moved) and value.place == 1:
        x = value.name
    else:
        raise builder.unsupported("its input must have the axes time, batch, features")
    directions = _weights(call, kind, count, len(_ORDER[kind]))
    if len(builder.shapes[x]) != 2:
        raise builder.broken(f"samples of shape {builder.shapes[x]}, not (T, F)")
    attributes = {"cell": kind.lower(), "directions": directions, "backwards": direction == "reverse"}
    steps = builder.shapes[x][0]
    units = directions[0]["hidden"].shape[1]
    every = builder.emit("recurrent", (x,), f"{call.output}/steps", {**attributes, "last": False})
    last = builder.emit("recurrent", (x,), f"{call.output}/last", {**attributes, "last": True})
    every = call.view("reshape", every, f"{call.output}/axes", shape=(steps, count, units))
    last = call.view("reshape", last, f"{call.output}/state", shape=(count, units))
    return [every if first else Moved(every, 2), last if first else Moved(last, 1), None][
        : len(call.node.output)
    ]


def _check(call: Call, kind: str, count: int) -> None:
    """Raise Unsupported for what torch's layers do not compute."""
    functions = [name.lower() for name in call.get("activations", [])] or None
    functions = [
        name.decode().lower() if isinstance(name, bytes) else name for name in functions or []
    ] or None
    usual = [name.lower() for name in _FUNCTIONS[kind]] * count
    problems = {
        "other activations than sigmoid and tanh": functions not in (None, usual),
        "clip": bool(call.get("clip")),
        "input_forget": bool(call.get("input_forget", 0)),
        "linear_before_reset = 0, which resets the state before the product": kind == "GRU"
        and not call.get("linear_before_reset", 0),
        "sequence_lens": call.given(4) is not None,
        "peepholes": call.given(7) is not None,
        "a state at the start that is not zero": any(
            _not_zero(call.given(place)) for place in ((5,) if kind == "GRU" else (5, 6))
        ),
    }
    for hint, applies in problems.items():
        if applies:
            raise call.builder.unsupported(hint)


def _not_zero(value: Any) -> bool:
    return value is not None and not (isinstance(value, np.ndarray) and not np.any(value))


def _weights(call: Call, kind: str, count: int, gates: int) -> list[dict[str, NDArray[Any]]]:
    inputs, hidden = (np.asarray(call.constant(place), np.float32) for place in (1, 2))
    units = int(call.get("hidden_size", hidden.shape[-1]))
    if (
        hidden.shape != (count, gates * units, units)
        or inputs.ndim != 3
        or inputs.shape[:2] != (count, gates * units)
    ):
        raise call.builder.broken(f"weights of shapes {inputs.shape} and {hidden.shape} for {units} units")
    bias = call.constant(3)
    bias = np.zeros((count, 2 * gates * units), np.float32) if bias is None else np.asarray(bias, np.float32)
    if bias.shape != (count, 2 * gates * units):
        raise call.builder.broken(f"a bias of shape {bias.shape} for {units} units")

    def ordered(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(gates, units, *values.shape[1:])[list(_ORDER[kind])].reshape(values.shape)

    return [
        {
            "input": ordered(inputs[number]), "hidden": ordered(hidden[number]),
            "input_bias": ordered(bias[number, : gates * units]), "hidden_bias": ordered(bias[number, gates * units :]),
        }
        for number in range(count)
    ]  # fmt: skip
