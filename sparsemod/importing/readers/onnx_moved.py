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
        "Mul", "Div", "Max", "Min", "MatMul", "Gemm", "QuantizeLinear", "DequantizeLinear", "Concat", "Slice", "Softmax", "LogSoftmax", "LayerNormalization",
    }
)  # fmt: skip
_FEWER_AXES = frozenset({"Gather", "Squeeze", "ReduceMean", "ReduceSum", "ReduceMax"})
_KINDS = _SAME_PLACE | _FEWER_AXES | {"Unsqueeze"}


def on_moved(call: Call) -> Any:
    """Translate an operator with such an input. Raises Unsupported where the operator mixes the batch with other axes."""
    kind = call.node.op_type
    if kind in ("Shape", "Transpose", "Reshape", "GRU", "LSTM"):
        return RULES[kind](call)
    _separated(call)
    moved = [value for value in call.inputs if isinstance(value, Moved)]
    if not moved:
        return RULES[kind](call)
    first, place = moved[0], moved[0].place
    refused = call.builder.unsupported(f"an input {first.words}")
    plain = any(isinstance(value, str) for value in call.inputs)
    if (
        kind == "Squeeze"
        and place is not None
        and place in [axis % (len(sizes(call))) for axis in call.integers(1, "axes") or []]
    ):
        return _without_batch(call, first.name, place)
    if plain or any(value.place != place for value in moved) or kind not in _KINDS:
        raise refused
    if place is not None:
        rank = len(call.builder.shapes[first.name]) + 1
        for value in call.inputs:
            if (
                isinstance(value, np.ndarray)
                and kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")
                and (value.ndim > 1 or (value.size > 1 and place == rank - 1))
            ):
                raise call.builder.unsupported(
                    f"a constant of shape {value.shape} where an input {first.words}"
                )
        if kind == "Gemm" or (kind == "MatMul" and place >= rank - 1):
            raise refused
    after = None if place is None else _place_after(call, place, rank)
    made = RULES[kind](_Inside(call, after if kind == "Unsqueeze" else place))
    wrapped = [_wrapped(one, after) for one in (made if isinstance(made, list) else [made])]
    return wrapped if isinstance(made, list) else wrapped[0]


def _separated(call: Call) -> None:
    """Give the inputs without a batch axis the one of the other inputs, where they have an axis of size 1 at that place."""
    builder = call.builder
    places = {
        value.place if isinstance(value, Moved) else 0
        for value in call.inputs
        if isinstance(value, Moved | str)
    }
    known = [place for place in places if place is not None]
    if len(places) < 2 or len(known) != 1:
        return
    (place,) = known
    for at, value in enumerate(call.inputs):
        if isinstance(value, Moved) and value.place is None:
            shape = builder.shapes[value.name]
            if len(shape) <= place or shape[place] != 1:
                continue
            name = call.view(
                "reshape", value.name, f"{call.output}/input{at}", shape=shape[:place] + shape[place + 1 :]
            )
            call.inputs[at] = _wrapped(name, place)


def _without_batch(call: Call, name: str, place: int) -> Any:
    """Squeeze the batch axis, of size 1 in the file, and other axes."""
    rank = len(sizes(call))
    gone = sorted({axis % rank for axis in call.integers(1, "axes") or []} - {place})
    shape = [size for at, size in enumerate(sizes(call)) if at not in (*gone, place)]
    return Moved(call.view("reshape", name, shape=tuple(shape)), None)


class _Inside(Call):
    """A call whose inputs have the batch first; its axes are those of the file."""

    def __init__(self, call: Call, place: int | None) -> None:
        inputs = [value.name if isinstance(value, Moved) else value for value in call.inputs]
        super().__init__(call.file, call.node, inputs)
        self._place = place

    def axis(self, value: int, rank: int | None = None) -> int:
        """See Call."""
        rank = len(self.shape()) + 1 if rank is None else rank
        rank -= self._place is None
        axis = int(value) + rank if value < 0 else int(value)
        if not 0 <= axis < rank or axis == self._place:
            raise self.builder.unsupported(f"axis {value}: the batch axis stays")
        return axis if self._place is None or axis < self._place else axis - 1

    def first_axis(self, value: int) -> int:
        """See Call."""
        axis = self.axis(value)
        if self._place is not None and axis < self._place:
            raise self.builder.unsupported(
                f"axes from {value} on: the batch axis {self._place} is one of them"
            )
        return axis


def _wrapped(value: Any, place: int | None) -> Any:
    return Moved(value, place) if isinstance(value, str) and place != 0 else value


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


def _where(call: Call) -> tuple[str, int | None]:
    """Return input 0 and its batch axis in the file, None without one."""
    value = call.given(0)
    return (value.name, value.place) if isinstance(value, Moved) else (call.tensor(), 0)


def sizes(call: Call) -> list[int]:
    """Return the sizes of input 0 in the file, 1 for the batch."""
    name, place = _where(call)
    found = list(call.builder.shapes[name])
    return found if place is None else [*found[:place], 1, *found[place:]]


@rule("Transpose")
def _transpose(call: Call) -> Any:
    value, order = call.given(0), call.get("perm")
    if isinstance(value, np.ndarray):
        return value.transpose(order)
    name, place = _where(call)
    rank = len(call.builder.shapes[name]) + (place is not None)
    order = list(order) if order is not None else list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise call.builder.broken(f"order {order} of {rank} axes")
    if place is None:
        return Moved(call.view("transpose", name, order=tuple(order)), None)
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
    name, place = _where(call)
    given = sizes(call)
    total = math.prod(given)
    new = [given[at] if size == 0 and at < len(given) else size for at, size in enumerate(wanted)]
    if place == 0 and len(new) > 1 and min(new[1:]) > 0 and math.prod(new[1:]) == total:
        # The first axis is the batch, whatever number the file has for it.
        return call.view("reshape", shape=tuple(new[1:]))
    if new.count(-1) == 1:
        rest = math.prod(size for size in new if size != -1)
        new = [total // rest if size == -1 and rest else size for size in new]
    if min(new, default=0) < 1 or math.prod(new) != total:
        raise call.builder.unsupported(f"from {tuple(given)} to {wanted}, where the batch is counted as 1")
    after = _axis_after(given, new, place)
    shape: Shape = tuple(new if after is None else new[:after] + new[after + 1 :])
    made = call.view("reshape", name, shape=shape)
    return Moved(made, after) if after != 0 else made


def _axis_after(given: list[int], new: list[int], place: int | None) -> int | None:
    """Return the batch axis of `new`, which has size 1: the one with as many elements before it as in `given`. None without one."""
    alone = [at for at, size in enumerate(new) if size == 1]
    if place is None:
        return alone[0] if alone else None
    before = math.prod(given[:place])
    return next((at for at in alone if math.prod(new[:at]) == before), None)
