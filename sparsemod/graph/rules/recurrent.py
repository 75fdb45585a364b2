"""Recurrent layers, the functions that pack sequences for them, and reductions over valid steps."""

from typing import Any

import torch
from torch import Tensor

from sparsemod.graph.aten import TRANSLATIONS, Translation, aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.macs import MACS
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.sequence_values import FromLengths, Packed, States, StepsFirst


@aten("_pack_padded_sequence.default")
def _pack(call: Call) -> None:
    walker = call.walker
    value, lengths = walker.values[call["input"]], walker.values[call["lengths"]]
    if isinstance(value, StepsFirst):
        value = value.source
    walker.values[call.node] = (Packed(call.tensor_of(value), _divisor(call, lengths)), FromLengths("other"))


def _divisor(call: Call, lengths: Any) -> int:
    if not isinstance(lengths, FromLengths) or lengths.role != "lengths":
        raise call.unsupported(
            "with lengths that are not the network's second input, or it divided by a whole number"
        )
    return lengths.divisor


@aten("_pad_packed_sequence.default")
def _unpack(call: Call) -> None:
    value = call.walker.values[call["data"]]
    if not isinstance(value, Packed):
        raise call.unsupported("of a sequence that is not packed")
    if call["padding_value"]:
        raise call.unsupported("with a padding value other than 0")
    made = value.source if call["batch_first"] else StepsFirst(value.source)
    call.walker.values[call.node] = (made, FromLengths("lengths", value.divisor))


@aten("gru.input", "gru.data", kinds=("gru", "move", "last_step", "concat"))
def _gru(call: Call) -> None:
    _layers(call, "gru", 4)


@aten("lstm.input", "lstm.data", kinds=("lstm", "move", "last_step", "concat"))
def _lstm(call: Call) -> None:
    _layers(call, "lstm", 4)


def _layers(call: Call, kind: str, tensors: int) -> None:
    """Translate every layer and direction to one operator, and join the directions of a layer."""
    walker = call.walker
    given = call["data"] if "data" in call.arguments else call["input"]
    value = walker.values[given]
    packed = isinstance(value, Packed)
    lengths = value.divisor if isinstance(value, Packed) else 0
    steps_first = not packed and not call["batch_first"]
    special = isinstance(value, Packed | StepsFirst)
    source = value.source if special else call.tensor_of(given)
    if isinstance(value, StepsFirst) != steps_first:
        raise call.unsupported("the order of samples and steps is not that of batch_first")
    _check_start(call)
    call.arguments["sequence"] = source
    source = _in_steps(call, source)
    flat = [walker.values[node] for node in call["params"]]
    per_cell = tensors if call["has_biases"] else 2
    directions = 2 if call["bidirectional"] else 1
    if len(flat) != per_cell * directions * call["num_layers"]:
        raise call.unsupported("with a projection of its output (proj_size)")
    ends: list[str] = []
    for layer in range(call["num_layers"]):
        made = []
        for direction in range(directions):
            place = (layer * directions + direction) * per_cell
            made.append(
                _cell(call, kind, source, flat[place : place + per_cell], layer, bool(direction), lengths)
            )
            ends.append(_end(call, made[-1], bool(direction), lengths))
        source = made[0] if directions == 1 else _joined(call, made)
    result: Any = Packed(source, lengths) if packed else StepsFirst(source) if steps_first else source
    states = States(tuple(ends))
    walker.values[call.node] = (result, states) if kind == "gru" else (result, states, States((), cells=True))


def _check_start(call: Call) -> None:
    start = call["hx"]
    for node in start if isinstance(start, list | tuple) else [start]:
        value = call.walker.values[node]
        zeros = isinstance(value, Constant) and not bool(value.tensor.any())
        if not zeros and not isinstance(value, FromLengths):  # zeros of a batch's size
            raise call.unsupported("with a first state other than zeros")


def _in_steps(call: Call, source: str) -> str:
    if call.layout_of(source).name == "channels-length":
        call.relayout("sequence", "time-features")
        source = call.tensor("sequence")
    if call.layout_of(source).name != "time-features":
        raise call.unsupported(
            f"its input has shape {call.walker.shapes[source]} and layout {call.layout_of(source).name}, not time-features"
        )
    return source


def _cell(
    call: Call, kind: str, source: str, constants: list[Constant], layer: int, reverse: bool, lengths: int
) -> str:
    of_input, of_state, *biases = (constant.tensor for constant in constants)
    if not biases:
        biases = [of_input.new_zeros(len(of_input))] * 2
    steps, units = call.walker.shapes[source][0], of_state.shape[1]
    attributes = {
        "units": units, "steps": steps, "reverse": reverse, "last": False, "lengths": lengths,
        "parameters": tuple(call.parameter(constant) for constant in constants[:2]),
    }  # fmt: skip
    return call.emit(
        kind, (source,), attributes, Constant(torch.cat([of_input, of_state], 1)), Constant(biases[0]),
        shape=(steps, units), layout="time-features", label=f"l{layer}{'_reverse' if reverse else ''}",
        state_bias=Constant(biases[1]),
    )  # fmt: skip


def _joined(call: Call, parts: list[str]) -> str:
    steps = call.walker.shapes[parts[0]][0]
    width = sum(call.walker.shapes[part][1] for part in parts)
    return call.emit(
        "concat", tuple(parts), {"axis": 1}, shape=(steps, width), layout="time-features", named=False
    )


def _end(call: Call, cell: str, reverse: bool, lengths: int) -> str:
    """Emit the last state of a layer: that of the last valid step, or of the first step in reverse."""
    steps, units = call.walker.shapes[cell]
    if lengths and not reverse:
        return call.emit("last_step", (cell,), {"lengths": lengths}, shape=(units,), layout=None, named=False)
    attributes = {"sizes": (units,), "strides": (1,), "offset": 0 if reverse else (steps - 1) * units}
    return call.emit("move", (cell,), attributes, shape=(units,), layout=None, named=False)


def _reduced(kind: str) -> None:
    def translate(call: Call) -> None:
        divisor = _divisor(call, call.walker.values[call["lengths"]])
        source = _in_steps(call, call.tensor("x"))
        shape = (call.walker.shapes[source][1],)
        call.emit(kind, (source,), {"lengths": divisor}, shape=shape, layout=None, named=False)

    TRANSLATIONS.add(f"sparsemod.{kind}.default", Translation(translate, (kind,)))


_reduced("last_step")
_reduced("mean_steps")


@FLOAT.rules("gru", "lstm")
def _run(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    a, x = operator.attributes, inputs[0]
    lengths = _steps(operator, x, inputs[1]) if a["lengths"] else torch.full((len(x),), a["steps"])
    weight, units = graph.state[str(operator.weight)], int(a["units"])
    features = weight.shape[1] - units
    flat = [
        weight[:, :features],
        weight[:, features:],
        graph.state[str(operator.bias)],
        graph.state[a["state_bias"]],
    ]
    flat = [tensor.to(x.dtype).contiguous() for tensor in flat]
    if a["reverse"]:
        x = reversed_steps(x, lengths)
    start = x.new_zeros(1, len(x), units)
    if operator.kind == "gru":
        made = torch.gru(x, start, flat, True, 1, 0.0, False, False, True)[0]
    else:
        made = torch.lstm(x, [start, start], flat, True, 1, 0.0, False, False, True)[0]
    if a["last"]:
        return made[torch.arange(len(made)), lengths - 1]
    if a["lengths"]:
        made = made * (torch.arange(a["steps"]) < lengths[:, None])[..., None]
    return reversed_steps(made, lengths) if a["reverse"] else made


def _steps(operator: Operator, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the valid steps of the operator's input, at least one."""
    divisor: int = operator.attributes["lengths"]
    return (lengths // divisor).clamp(1, x.shape[1])


def reversed_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Return `x` (N, T, F) with the valid steps of each sample in reverse order, and the padding in its place."""
    steps = torch.arange(x.shape[1])
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, places[..., None].expand(x.shape))


@FLOAT.register("last_step")
def _run_last(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    x, lengths = inputs[0], _steps(operator, *inputs)
    return x[torch.arange(len(x)), lengths - 1]


@FLOAT.register("mean_steps")
def _run_mean(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    x, lengths = inputs[0], _steps(operator, *inputs)
    valid = (torch.arange(x.shape[1]) < lengths[:, None])[..., None]
    return (x * valid).sum(1) / lengths[:, None]


@MACS.rules("gru", "lstm")
def _macs(graph: Graph, operator: Operator) -> int:
    return graph.state[str(operator.weight)].numel() * int(operator.attributes["steps"])
