"""Recurrent layers as linear ones, through which the flow of SynFlow runs."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def make_linear(module: nn.Module) -> None:
    """Replace the computation of each recurrent layer, whose weights must be positive, by a linear one.

    A unit's state is c times the sum of its inputs and of the states before it, each weighted by all gates.
    Sigmoid and tanh would be saturated, and the gates would be products. The constant c of a layer bounds
    the states; it scales all scores of the network alike.
    """
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            part.forward = functools.partial(_forward, part, _scales(part))


def _ends(layer: nn.RNNBase) -> list[list[str]]:
    """Return the ends of the names of the weights: a list for each layer, with each direction."""
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    return [[f"l{number}{direction}" for direction in directions] for number in range(layer.num_layers)]


def _gates(layer: nn.RNNBase, name: str) -> Tensor:
    """Return the sum over the gates of a tensor of the layer, of which each unit has a row for each gate."""
    tensor: Tensor = getattr(layer, name)
    return tensor.view(-1, layer.hidden_size, *tensor.shape[1:]).sum(0)


def _scales(layer: nn.RNNBase) -> dict[str, float]:
    with torch.no_grad():
        return {
            end: 1.0 / max(1.0, float(_gates(layer, f"weight_hh_{end}").sum(1).max()))
            for ends in _ends(layer)
            for end in ends
        }


def _forward(layer: nn.RNNBase, scales: dict[str, float], x: Any, hx: object = None) -> tuple[Any, Any]:
    """Return outputs and last states in the form of the layer's own; a given first state counts as zero."""
    packed = isinstance(x, PackedSequence)
    lengths = None
    if packed:
        x, lengths = pad_packed_sequence(x, batch_first=layer.batch_first)
    single = x.dim() == 2
    steps = x.unsqueeze(1) if single else x.transpose(0, 1) if layer.batch_first else x
    states = []
    for ends in _ends(layer):
        made = []
        for end in ends:
            run = _run(layer, end, scales[end])
            backwards = end.endswith("_reverse")
            outputs = run(steps.flip(0) if backwards else steps)
            states.append(outputs[-1])
            made.append(outputs.flip(0) if backwards else outputs)
        steps = torch.cat(made, 2)
    result: Any = steps.squeeze(1) if single else steps.transpose(0, 1) if layer.batch_first else steps
    last = torch.stack(states)
    last = last.squeeze(1) if single else last
    if lengths is not None:
        result = pack_padded_sequence(result, lengths, layer.batch_first, enforce_sorted=False)
    return result, (last, last) if isinstance(layer, nn.LSTM) else last


def _run(layer: nn.RNNBase, end: str, scale: float) -> Callable[[Tensor], Tensor]:
    """Return one layer and direction: steps (T, N, features) -> states (T, N, units)."""
    of_input, of_state = _gates(layer, f"weight_ih_{end}"), _gates(layer, f"weight_hh_{end}")
    projection: Tensor | None = getattr(layer, f"weight_hr_{end}", None)
    bias = _gates(layer, f"bias_ih_{end}") + _gates(layer, f"bias_hh_{end}") if layer.bias else 0.0

    def run(steps: Tensor) -> Tensor:
        state = steps.new_zeros(steps.shape[1], of_state.shape[1])
        states = []
        for inputs in (steps @ of_input.T + bias).unbind(0):
            state = scale * (inputs + state @ of_state.T)
            state = state if projection is None else state @ projection.T
            states.append(state)
        return torch.stack(states)

    return run
