"""What the layers that read a channel do with it, on training samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.graph import Graph
from sparsemod.pruning.base import Context
from sparsemod.pruning.channels import Channels, is_depthwise
from sparsemod.pruning.patches import layer_patches


@dataclass(frozen=True, eq=False)
class Consumer:
    """One layer that reads channels. `labels`: of its input channels, in order. `parts` yields its products.

    Each part has shape (patches, filters, inputs): the contribution of each input channel to each output.
    """

    name: str
    labels: Tensor
    products: "Products"

    def by_label(self, count: int) -> Iterator[Tensor]:
        """Yield contributions by label: (patches, filters, count)."""
        for part in self.products:
            whole = part.new_zeros(*part.shape[:2], count)
            yield whole.index_add_(2, self.labels, part)


class Products:
    """Iterates over a layer's contributions by input channel."""

    def __init__(self, values: Tensor, weight: Tensor, channels: int) -> None:
        self.values, self.weight, self.channels = values, weight.detach().flatten(1), channels

    def __iter__(self) -> Iterator[Tensor]:
        taps = self.weight.shape[1] // self.channels
        step = max(1, 2**22 // self.weight.numel())
        weight = self.weight.view(len(self.weight), self.channels, taps)
        for part in self.values[:, 0].split(step):
            yield torch.einsum("pct,fct->pfc", part.view(len(part), self.channels, taps), weight)


def consumers(
    graph: Graph, channels: Channels, context: Context, samples: int, patches: int
) -> list[Consumer]:
    """Return the layers, other than depthwise and grouped ones, that read channels which may go."""
    units = {unit for group in channels.groups for unit in group.units}
    wanted: dict[str, Tensor] = {}
    owned = dict(context.module.named_parameters(remove_duplicate=False))
    for operator in graph.operators:
        parameter = operator.attributes.get("parameter")
        if not operator.traits.weighted or parameter not in owned:
            continue
        source = channels.labels[operator.inputs[0]]
        if operator.window.groups > 1 or is_depthwise(operator, len(source)):
            continue
        if units & set(source.tolist()):
            wanted[parameter] = torch.from_numpy(source)
    found = layer_patches(context.module, context.batches(), wanted, samples, patches, context.seed)
    return [
        Consumer(
            name,
            labels.to(owned[name].device),
            Products(found[name].values, owned[name], len(labels)),
        )
        for name, labels in wanted.items()
        if name in found
    ]
