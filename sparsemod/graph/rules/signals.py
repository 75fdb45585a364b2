"""Features of the frames of a signal: energies of frequency bands, cepstra, and statistics of windows."""

import torch
from torch import Tensor

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.operators import Graph, Operator
from sparsemod.signals.operators import energies, statistics

_BANDS = ("window", "hop", "rate", "bands", "low", "high", "mel", "coefficients", "floor")
_STATISTICS = ("window", "hop")


@aten("sparsemod.band_energies.default", kinds=("band_energies", "transpose"))
def _band_energies(call: Call) -> None:
    _emit(call, "band_energies", _BANDS)


@aten("sparsemod.window_statistics.default", kinds=("window_statistics", "transpose"))
def _window_statistics(call: Call) -> None:
    _emit(call, "window_statistics", _STATISTICS)


def _emit(call: Call, kind: str, names: tuple[str, ...]) -> None:
    call.channels_first("x")
    source = call.tensor("x")
    if not _is_input(call, source):
        raise call.unsupported("it reads 16-bit samples, which only the network's input holds")
    shape = tuple(int(size) for size in call.node.meta["val"].shape[1:])
    attributes = {**{name: call[name] for name in names}, "activation": None}
    ones, zeros = Constant(torch.ones(shape[0])), Constant(torch.zeros(shape[0]))
    call.emit(kind, (source,), attributes, ones, zeros, shape=shape, layout="channels-length")


def _is_input(call: Call, tensor: str) -> bool:
    """Whether a tensor is the network's input, or that in the other layout of a sequence."""
    while tensor not in call.walker.inputs:
        made = next(o for o in call.walker.operators if o.output == tensor)
        if not made.traits.same_image:
            return False
        tensor = made.inputs[0]
    return True


@FLOAT.register("band_energies")
def _run_energies(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return _scaled(graph, operator, energies(inputs[0], *(operator.attributes[name] for name in _BANDS)))


@FLOAT.register("window_statistics")
def _run_statistics(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    return _scaled(
        graph, operator, statistics(inputs[0], *(operator.attributes[name] for name in _STATISTICS))
    )


def _scaled(graph: Graph, operator: Operator, made: Tensor) -> Tensor:
    gain, offset = graph.state[str(operator.weight)], graph.state[str(operator.bias)]
    return made * gain.to(made)[:, None] + offset.to(made)[:, None]
