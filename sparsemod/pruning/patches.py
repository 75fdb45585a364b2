"""Inputs of layers on training samples, as the matrices that their weights multiply."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.graph.capture import evaluating
from sparsemod.pruning.draws import generator
from sparsemod.pruning.recurrent_patches import recurrent_inputs
from sparsemod.sequences import Batch, call

Layer = nn.Conv1d | nn.Conv2d | nn.Linear


@dataclass(frozen=True, eq=False)
class Patches:
    """`values` (patches, groups, inputs of a filter): what the filters of one layer see at some positions."""

    values: Tensor

    def contributions(self, weight: Tensor) -> Iterator[Tensor]:
        """Yield, for some patches at a time, weight x input: (patches, filters, inputs of a filter)."""
        flat = weight.detach().flatten(1)
        groups = self.values.shape[1]
        step = max(1, 2**22 // flat.numel())
        for part in self.values.split(step):
            spread = part.repeat_interleave(len(flat) // groups, dim=1)
            yield spread * flat

    def outputs(self, weight: Tensor) -> Tensor:
        """Return the layer's outputs without bias: (patches, filters)."""
        return torch.cat([part.sum(2) for part in self.contributions(weight)])


def layer_patches(
    module: nn.Module, batches: Iterable[tuple[Batch, Tensor]], names: Iterable[str], samples: int, patches: int, seed: int
) -> Mapping[str, Patches]:  # fmt: skip
    """Return the inputs of the layers whose weights are `names`, in evaluation mode.

    `samples`: training samples, the first ones. `patches`: positions for each layer, drawn by `seed` from
    those of all samples and of all calls of the layer. Of a recurrent layer, positions are the valid steps; the
    inputs of its weights of the state are the states before them. A layer that the network does not run is left out.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    held: dict[str, list[str]] = {}
    for name in found:
        held.setdefault(name.rpartition(".")[0], []).append(name)
    handles = []
    for path, own in held.items():

        def keep(part: nn.Module, given: tuple[Any, ...], own: Sequence[str] = own) -> None:
            inputs = recurrent_inputs(part, given[0]) if isinstance(part, nn.RNNBase) else {}
            for name in own:
                x = inputs.get(name.rpartition(".")[2])
                found[name].append(_unfolded(part, given[0].detach()) if x is None else x.unsqueeze(1))

        handles.append(module.get_submodule(path).register_forward_pre_hook(keep))
    left = samples
    try:
        with evaluating(module), torch.no_grad():
            for x, _ in batches:
                if left <= 0:
                    break
                call(module, x[:left])
                left -= len(x)
    finally:
        for handle in handles:
            handle.remove()
    result = {}
    for name, parts in found.items():
        if parts:
            together = torch.cat(parts)
            order = torch.randperm(len(together), generator=generator(seed, "patches", name))[:patches]
            result[name] = Patches(together[order.sort().values.to(together.device)])
    return result


def _unfolded(layer: nn.Module, x: Tensor) -> Tensor:
    """Return a layer's input (samples, ...) as (samples x positions, groups, inputs of a filter)."""
    if isinstance(layer, nn.Linear):  # a step of a sequence is a position
        return x.reshape(-1, 1, x.shape[-1])
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        raise TypeError(f"no convolution or linear layer: {type(layer).__name__}")
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    around = list(layer._reversed_padding_repeated_twice)
    if any(around):
        x = functional.pad(x, around, mode=mode)
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if x.dim() == 3:  # a sequence: an image of height 1
        x, kernel, stride, dilation = x.unsqueeze(2), (1, *kernel), (1, *stride), (1, *dilation)
    columns = functional.unfold(x, kernel, dilation=dilation, stride=stride)
    return columns.transpose(1, 2).reshape(len(columns) * columns.shape[2], layer.groups, -1)
