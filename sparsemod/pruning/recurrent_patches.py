"""Inputs of the weights of recurrent layers: the steps that a layer reads, and its states before each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence


def recurrent_inputs(layer: nn.RNNBase, x: Tensor | PackedSequence) -> dict[str, Tensor]:
    """Return what each weight of a recurrent module multiplies, (steps of all samples, features), by its name.

    `x` is the module's input, padded or packed. The first state is zero; dropout between layers is left out.
    """
    packed = x if isinstance(x, PackedSequence) else _packed(layer, x)
    sizes: list[int] = packed.batch_sizes.tolist()
    before, after = _neighbours(sizes, packed.data.device)
    found: dict[str, Tensor] = {}
    data = packed.data.detach()
    for number in range(layer.num_layers):
        made = _single(layer, number, data)(PackedSequence(data, packed.batch_sizes))[0].data
        for direction, states in enumerate(made.chunk(2, 1) if layer.bidirectional else (made,)):
            end = f"l{number}{'_reverse' if direction else ''}"
            found[f"weight_ih_{end}"] = data
            padded = torch.cat([states, states.new_zeros(1, states.shape[1])])
            found[f"weight_hh_{end}"] = padded[after if direction else before]
        data = made
    return found


def _packed(layer: nn.RNNBase, x: Tensor) -> PackedSequence:
    if x.dim() == 2:  # one sequence
        x = x.unsqueeze(0 if layer.batch_first else 1)
    samples, steps = x.shape[:2] if layer.batch_first else (x.shape[1], x.shape[0])
    return pack_padded_sequence(x.detach(), torch.full((samples,), steps), layer.batch_first)


def _neighbours(sizes: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row of the step before and of the step after each row of packed data; -1 where there is none.

    `sizes`: the samples that have a first, second, ... step.
    """
    starts = [sum(sizes[:step]) for step in range(len(sizes))]
    before = torch.full((sum(sizes),), -1)
    after = before.clone()
    for step, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if step:
            before[start : start + size] = starts[step - 1] + torch.arange(size)
            after[starts[step - 1] : starts[step - 1] + size] = start + torch.arange(size)
    return before.to(device), after.to(device)


def _single(layer: nn.RNNBase, number: int, data: Tensor) -> nn.RNNBase:
    """Return one layer of the module, in both directions, as a module with the same weights."""
    keys: dict[str, Any] = {"bias": layer.bias, "bidirectional": layer.bidirectional}
    kind: Callable[..., nn.RNNBase]
    if isinstance(layer, nn.GRU):
        kind = nn.GRU
    elif isinstance(layer, nn.LSTM):
        kind, keys["proj_size"] = nn.LSTM, layer.proj_size
    else:
        kind, keys["nonlinearity"] = nn.RNN, layer.nonlinearity
    with torch.device("meta"):
        single = kind(data.shape[1], layer.hidden_size, 1, **keys)
    for name in list(single._parameters):
        tensor = getattr(layer, name.replace("_l0", f"_l{number}"))
        setattr(single, name, nn.Parameter(tensor.detach(), requires_grad=False))
    return single.eval()
