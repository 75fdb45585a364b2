"""Values of the walk that are no tensors of samples: lengths, packed sequences, sequences with the steps first, states of layers.

They come from recurrent layers and from the functions that pack sequences for them. The calls that turn them into one another and
back into tensors are translated here; any other call on them is unsupported.
"""

from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from sparsemod.graph.call import Call, Constant


@dataclass(frozen=True)
class FromLengths:
    """A tensor computed from the lengths alone.

    `role`: "lengths" divided by `divisor` and rounded down, as after pooling; "last", the places of the last valid steps, which are
    these lengths - 1, in any shape; "order" of the samples by length; or "other"."""

    role: str
    divisor: int = 1


@dataclass(frozen=True)
class Packed:
    """The steps of a packed sequence; `source` is the tensor (steps, features), `divisor` that of its lengths."""

    source: str
    divisor: int = 1


@dataclass(frozen=True)
class StepsFirst:
    """The tensor `source` (steps, features) in a module that counts steps before samples: (T, N, F)."""

    source: str


@dataclass(frozen=True)
class States:
    """The last states of the layers and directions of a recurrent layer, (count, N, units); `sources` are tensors of units.

    With `cells`, they are cells of an LSTM, which no graph holds.
    """

    sources: tuple[str, ...]
    cells: bool = False


Special = FromLengths | Packed | StepsFirst | States

_VIEWS = ("view", "_unsafe_view", "reshape", "unsqueeze", "expand")
_COPIES = ("_to_copy", "clone", "detach", "alias", "lift_fresh_copy", "to", "contiguous")


def translated(call: Call) -> bool:
    """Translate a call that reads a special value. Returns whether the call's result is set. Raises Unsupported for other calls.

    Calls of recurrent layers and of `sparsemod.sequences`, which have rules of their own, are left to these.
    """
    walker, node = call.walker, call.node
    values = [walker.values[source] for source in node.all_input_nodes]
    special = [value for value in values if isinstance(value, Special)]
    if not special:
        return False
    if call.operator in (
        "gru",
        "lstm",
        "_pack_padded_sequence",
        "_pad_packed_sequence",
    ) or "sparsemod" in str(node.target):
        return False
    walker.storage[node] = node
    if all(isinstance(value, FromLengths | Constant) for value in values):
        walker.values[node] = _from_lengths(call)
    elif isinstance(values[0], str | StepsFirst) and (places := _last_places(call)):
        _emit_last_steps(call, values[0], places)
    elif call.operator == "index_select" and _is_order(call, values):
        # A batch sorted by length; the reverse order follows.
        walker.values[node] = values[0]
    elif isinstance(special[0], StepsFirst):
        _of_steps_first(call, special[0])
    elif isinstance(special[0], States):
        _of_states(call, special[0])
    else:
        raise call.unsupported("it mixes the samples' lengths with their values; use sparsemod.sequences")
    return True


def _from_lengths(call: Call) -> Any:
    given = call.walker.values[call.node.all_input_nodes[0]]
    role, divisor = getattr(given, "role", "other"), getattr(given, "divisor", 1)
    if call.operator in ("scatter", "scatter_"):  # the inverse of an order, in a new tensor
        return FromLengths("order")
    if role == "lengths" and call.operator in ("index", "index_select"):
        # lengths in the order of another tensor
        others = [call.walker.values[each] for each in call.node.all_input_nodes[1:]]
        ordered = [getattr(each, "role", "") for each in others] == ["order"]
        return given if ordered else FromLengths("other")
    less_one = (call.operator, (*call.node.args, None)[1]) in (("sub", 1), ("add", -1))
    if role == "lengths" and less_one and call.node.kwargs.get("alpha", 1) == 1:
        return FromLengths("last", divisor)
    if role == "last" and call.operator in _VIEWS:
        return FromLengths("last", divisor)
    if role == "lengths" and call.operator == "sort":
        return (FromLengths("lengths", divisor), FromLengths("order"))
    by = (*call.node.args, None)[1]
    if role == "lengths" and isinstance(by, int) and _floors(call):
        return FromLengths("lengths", divisor * by)
    if (
        call.operator in ("clamp", "clamp_min")
        and call.arguments["min"] == 1
        and call.arguments.get("max") is None
    ):
        return FromLengths(role, divisor)
    return FromLengths(role, divisor) if call.operator in _COPIES else FromLengths("other")


def _floors(call: Call) -> bool:
    """Whether a call divides and rounds down."""
    return call.operator == "floor_divide" or (
        call.operator == "div" and call.arguments.get("rounding_mode") == "floor"
    )


def _is_order(call: Call, values: list[Any]) -> bool:
    index = call.walker.values.get(call["index"])
    axis = 1 if isinstance(values[0], States | StepsFirst) else 0
    return isinstance(index, FromLengths) and index.role == "order" and call["dim"] == axis


def _last_places(call: Call) -> FromLengths | None:
    """Return the places of the last valid steps when a call reads just these of a sequence, else None.

    Such calls are `x[torch.arange(N), lengths - 1]` and `x.gather(1, places)` with places (N, 1, F), also with the steps first.
    """
    walker = call.walker
    value = walker.values[call.node.all_input_nodes[0]]
    axis = 0 if isinstance(value, StepsFirst) else 1
    if call.operator == "index" and len(call["indices"]) == 2:
        given = [walker.values.get(each) for each in call["indices"]]
        place, samples = given[axis], given[1 - axis]
        right = isinstance(samples, Constant) and samples.tensor.tolist() == list(range(walker.batch))
    elif call.operator == "gather" and call["dim"] % 3 == axis:
        place = walker.values[call["index"]]
        sizes = list(walker.shapes.get(value.source if isinstance(value, StepsFirst) else value, (0, 0)))
        whole = [walker.batch, 1, sizes[-1]] if axis == 1 else [1, walker.batch, sizes[-1]]
        right = list(call.node.meta["val"].shape) == whole
    else:
        return None
    return place if right and isinstance(place, FromLengths) and place.role == "last" else None


def _emit_last_steps(call: Call, value: Any, places: FromLengths) -> None:
    """Emit every sample's last valid step: (units,), or (1, units) where the call keeps the axis of steps."""
    source = value.source if isinstance(value, StepsFirst) else value
    units = call.walker.shapes[source][1]
    made = call.emit(
        "last_step", (source,), {"lengths": places.divisor}, shape=(units,), layout=None, named=False
    )
    if call.operator == "gather":
        shape = (1, units)
        made = call.emit(
            "reshape", (made,), {"shape": shape}, shape=shape, layout="time-features", named=False
        )
        call.walker.values[call.node] = StepsFirst(made) if isinstance(value, StepsFirst) else made


def _of_steps_first(call: Call, value: StepsFirst) -> None:
    walker, node = call.walker, call.node
    rank = 3
    if call.operator in ("transpose", "swapaxes"):
        if {axis % rank for axis in node.args[1:3]} == {0, 1}:  # type: ignore[operator]
            walker.values[node] = value.source
            return
    elif call.operator == "permute":
        if [axis % rank for axis in call["dims"]] == [1, 0, 2]:
            walker.values[node] = value.source
            return
    elif (call.operator == "select" and call["dim"] == 0) or _is_one_step(call, value):
        steps, features = walker.shapes[value.source]
        step = call["index"] % steps if call.operator == "select" else 0
        attributes = {"sizes": (features,), "strides": (1,), "offset": step * features}
        call.emit("move", (value.source,), attributes, shape=(features,), layout=None, named=False)
        return
    elif call.operator in _COPIES:
        walker.values[node] = value
        return
    raise call.unsupported("on steps before samples (batch_first=False): transpose the first two axes first")


def _is_one_step(call: Call, value: StepsFirst) -> bool:
    """Whether a call drops the axis of a single step."""
    return (
        call.operator == "squeeze"
        and call.node.args[1:] in ((), (0,))
        and call.walker.shapes[value.source][0] == 1
    )


def _of_states(call: Call, value: States) -> None:
    walker, node = call.walker, call.node
    if value.cells:
        raise call.unsupported("it reads the last cells of an LSTM")
    if call.operator == "select" and call["dim"] == 0:
        walker.values[node] = value.sources[call["index"]]
    elif call.operator == "unbind" and call["dim"] == 0:
        walker.values[node] = value.sources
    elif call.operator == "squeeze" and len(value.sources) == 1:
        walker.values[node] = value.sources[0]
    elif call.operator == "slice" and call["dim"] == 0:
        walker.values[node] = States(value.sources[call["start"] : call["end"] : call["step"]])
    elif call.operator in _COPIES:
        walker.values[node] = value
    else:
        raise call.unsupported(
            "of the last states only single ones: state[-1], or state[-2] and state[-1] concatenated"
        )


def is_steps_first(node: Node, walker: Any) -> bool:
    """Whether a call exchanges the axes of samples and of steps of a sequence, (N, T, F) to (T, N, F)."""
    call = Call(walker, node)
    value = walker.values[node.all_input_nodes[0]] if node.all_input_nodes else None
    if not isinstance(value, str) or len(walker.shapes.get(value, ())) != 2:
        return False
    if call.operator in ("transpose", "swapaxes"):
        return {axis % 3 for axis in node.args[1:3]} == {0, 1}  # type: ignore[operator]
    return call.operator == "permute" and [axis % 3 for axis in call["dims"]] == [1, 0, 2]
