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

    Each part has shape (patches, filters, inputs): the contribution of each input channel to each output. In a
    grouped convolution, `labels` are those of the inputs of one group, and equal in all groups.
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
    """Iterates over a layer's contributions by input channel, (patches, filters, channels that a filter reads).

    `values` (patches, groups, inputs of a filter).
    """

    def __init__(self, values: Tensor, weight: Tensor, channels: int) -> None:
        self.values, self.weight, self.channels = values, weight.detach().flatten(1), channels

    def __iter__(self) -> Iterator[Tensor]:
        groups, taps = self.values.shape[1], self.weight.shape[1] // self.channels
        step = max(1, 2**22 // self.weight.numel())
        weight = self.weight.view(groups, -1, self.channels, taps)
        for part in self.values.split(step):
            seen = part.reshape(len(part), groups, self.channels, taps)
            yield torch.einsum("pgct,gfct->pgfc", seen, weight).flatten(1, 2)


def consumers(
    graph: Graph, channels: Channels, context: Context, samples: int, patches: int
) -> list[Consumer]:
    """Return the layers, other than depthwise ones, that read channels which may go.

    Of a recurrent module, those are its first layers: the inputs of the others are not outputs of a module.
    """
    units = {unit for group in channels.groups for unit in group.units}
    wanted: dict[str, Tensor] = {}
    owned = dict(context.module.named_parameters(remove_duplicate=False))
    for operator in graph.operators:
        if not operator.traits.weighted:
            continue
        source = channels.labels[operator.inputs[0]]
        parameter = operator.attributes.get("parameter")
        if operator.traits.recurrent:
            cell = channels.cells.get(operator.name)
            parameter = None if cell is None or "_l0" not in cell.of_input else cell.of_input
        elif is_depthwise(operator, len(source)):
            continue
        else:
            source = source[: len(source) // operator.window.groups]
        if parameter in owned and units & set(source.tolist()):
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
