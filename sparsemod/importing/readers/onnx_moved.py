"""ONNX operators on tensors whose batch axis is not the first one, as around recurrent layers: (T, N, F).

The step works on the tensor with the batch first; only the axes that the file names are converted.
"""

import math
from typing import Any

import numpy as np

from sparsemod.importing.readers.onnx_file import RULES, Call, Moved, rule
from sparsemod.layouts import Shape

_SAME_PLACE = frozenset(
    {
        "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Erf", "HardSwish", "Mish", "Softsign", "Clip",
        "LeakyRelu", "Elu", "Celu", "Selu", "Softplus", "Gelu", "HardSigmoid", "ThresholdedRelu", "Identity", "Dropout", "Add", "Sub",
        "Mul", "Div", "Max", "Min", "MatMul", "Concat", "Slice", "Softmax", "LogSoftmax", "LayerNormalization",
    }
)  # fmt: skip
_FEWER_AXES = frozenset({"Gather", "Squeeze", "ReduceMean", "ReduceSum", "ReduceMax"})


def on_moved(call: Call) -> Any:
    """Translate an operator with such an input. Raises Unsupported where the operator mixes the batch with other axes."""
    kind = call.node.op_type
    if kind in ("Shape", "Transpose", "Reshape", "GRU", "LSTM"):
        return RULES[kind](call)
    moved = [value for value in call.inputs if isinstance(value, Moved)]
    place = moved[0].place
    plain = any(isinstance(value, str) for value in call.inputs)
    if (
        plain
        or any(value.place != place for value in moved)
        or not (kind in _SAME_PLACE | _FEWER_AXES or kind == "Unsqueeze")
    ):
        raise call.builder.unsupported(f"an input has the batch as axis {place}, not 0")
    rank = len(call.builder.shapes[moved[0].name]) + 1
    for value in call.inputs:
        if (
            isinstance(value, np.ndarray)
            and kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")
            and (value.ndim > 1 or (value.size > 1 and place == rank - 1))
        ):
            raise call.builder.unsupported(
                f"a constant of shape {value.shape} where the batch is axis {place}"
            )
    if kind == "MatMul" and place >= rank - 1:
        raise call.builder.unsupported(f"an input has the batch as axis {place}, not 0")
    after = _place_after(call, place, rank)
    inside = _Inside(call, after if kind == "Unsqueeze" else place)
    made = RULES[kind](inside)
    wrapped = [_wrapped(one, after) for one in (made if isinstance(made, list) else [made])]
    return wrapped if isinstance(made, list) else wrapped[0]


class _Inside(Call):
    """A call whose inputs have the batch first; its axes are those of the file."""

    def __init__(self, call: Call, place: int) -> None:
        inputs = [value.name if isinstance(value, Moved) else value for value in call.inputs]
        super().__init__(call.file, call.node, inputs)
        self._place = place

    def axis(self, value: int, rank: int | None = None) -> int:
        """See Call."""
        rank = len(self.shape()) + 1 if rank is None else rank
        axis = int(value) + rank if value < 0 else int(value)
        if not 0 <= axis < rank or axis == self._place:
            raise self.builder.unsupported(f"axis {value}: the batch axis stays")
        return axis if axis < self._place else axis - 1


def _wrapped(value: Any, place: int) -> Any:
    return Moved(value, place) if isinstance(value, str) and place else value


def _place_after(call: Call, place: int, rank: int) -> int:
    """Return the batch axis of the result."""
    kind = call.node.op_type
    if kind == "Unsqueeze":
        added = sorted(
            axis % (rank + len(call.integers(1, "axes") or [])) for axis in call.integers(1, "axes") or []
        )
        for axis in added:
            place += axis <= place
        return place
    if kind == "Gather":
        gone = [] if np.ndim(call.constant(1)) else [int(call.get("axis", 0))]
    elif kind == "Squeeze":
        gone = call.integers(1, "axes") or []
        if not gone:
            raise call.builder.unsupported("without axes")
    elif kind in _FEWER_AXES:
        gone = [] if call.get("keepdims", 1) else call.integers(1, "axes") or []
    else:
        return place
    return place - sum(axis % rank < place for axis in gone)


def sizes(call: Call) -> list[int]:
    """Return the sizes of input 0 in the file, 1 for the batch."""
    value = call.given(0)
    name, place = (value.name, value.place) if isinstance(value, Moved) else (call.tensor(), 0)
    found = list(call.builder.shapes[name])
    return [*found[:place], 1, *found[place:]]


@rule("Transpose")
def _transpose(call: Call) -> Any:
    value, order = call.given(0), call.get("perm")
    if isinstance(value, np.ndarray):
        return value.transpose(order)
    name, place = (value.name, value.place) if isinstance(value, Moved) else (call.tensor(), 0)
    rank = len(call.builder.shapes[name]) + 1
    order = list(order) if order is not None else list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise call.builder.broken(f"order {order} of {rank} axes")
    after = order.index(place)
    axes = tuple(axis - (axis > place) for axis in order if axis != place)
    if axes != tuple(range(rank - 1)) or not (after or place):
        name = call.view("transpose", name, order=axes)
    return Moved(name, after) if after else name


@rule("Reshape")
def _reshape(call: Call) -> Any:
    wanted = call.integers(1) or []
    value = call.given(0)
    if isinstance(value, np.ndarray):
        return value.reshape(wanted)
    given = sizes(call)
    total = math.prod(given)
    new = [given[place] if size == 0 and place < len(given) else size for place, size in enumerate(wanted)]
    place = value.place if isinstance(value, Moved) else 0
    if new.count(-1) == 1 and not (place == 0 and new[0] == -1):
        rest = math.prod(size for size in new if size != -1)
        new = [total // rest if size == -1 and rest else size for size in new]
    if place == 0:
        # The first axis is the batch, whatever number the file has for it.
        if len(new) < 2 or min(new[1:]) < 1 or math.prod(new[1:]) != total:
            raise call.builder.unsupported(f"from {tuple(given[1:])} to {wanted}: the batch axis stays first")
        return call.view("reshape", shape=tuple(new[1:]))
    after = _same_axis(given, new, place)
    if after is None or min(new, default=0) < 1 or math.prod(new) != total:
        raise call.builder.unsupported(f"from {given} to {wanted} where the batch is axis {place}")
    shape: Shape = tuple(new[:after] + new[after + 1 :])
    made = call.view("reshape", value.name, shape=shape)
    return Moved(made, after) if after else made


def _same_axis(given: list[int], new: list[int], place: int) -> int | None:
    """Return the axis of size 1 in `new` with as many elements before it as the axis `place` has in `given`."""
    before = math.prod(given[:place])
    candidates = [at for at, size in enumerate(new) if size == 1 and math.prod(new[:at]) == before]
    return candidates[0] if candidates else None
