"""Filter pruning by L1 norm (structured): whole filters are removed, and the deployed network is smaller."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS, Plan
from sparsemod.pruning.masks import MaskConfig, MaskMethod
from sparsemod.pruning.plan import planned_keep

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph
    from sparsemod.pruning.channels import Channels


class FiltersConfig(MaskConfig):
    """Keys of filters."""

    sparsity: float = Field(0.5, ge=0, lt=1, description="Share of each layer's filters to remove.")


@METHODS.register("filters")
class Filters(MaskMethod[FiltersConfig]):
    """Zeroes the filters (conv) and neurons (linear) of smallest L1 norm; `transform` cuts them out.

    `planned_keep(n, sparsity)` of each layer's n remain. A pruned filter's weights, bias and the scale,
    shift and running mean of its norm are zero, so that its output is exactly zero in training and
    evaluation. Layers whose outputs are added lose the same filters, ranked by the sum of their norms. The
    outputs of a depthwise convolution are removed with their input channels. Filters that feed the
    network's output and those of grouped convolutions stay: `frozen` lists them with the reason. Source: Li
    et al., "Pruning filters for efficient ConvNets", 2017.
    """

    Config = FiltersConfig

    def __init__(self, config: FiltersConfig) -> None:
        super().__init__(config)
        self._channels: Channels | None = None

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method."""
        from sparsemod.pruning.shrinking import planned_shrink_graph

        return Plan(planned_shrink_graph(graph, sparsity, owned) if sparsity > 0 else graph)

    def transform(self, module: "nn.Module", shape: Sequence[int], layout: str | None = None) -> "nn.Module":
        """See Method. Return a copy without the zero filters."""
        from sparsemod.pruning.shrinking import shrink

        return shrink(module, shape, layout) if self.config.sparsity > 0 else module

    @property
    def frozen(self) -> Mapping[str, str]:
        """Layers that cannot be pruned, wholly or in part, with the reason; known after `start`."""
        return {} if self._channels is None else dict(self._channels.frozen)

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod. Raises Unsupported for a module that cannot be captured."""
        from sparsemod.graph import capture
        from sparsemod.pruning.channels import channels_of, named_tensors

        tensors = named_tensors(module)
        self._channels = channels = channels_of(capture(module, self.shape, self.layout), tensors)
        units = {unit for group in channels.groups for unit in group.units}
        return {n: tensors[n] for n, labels in channels.rows.items() if units & set(labels.tolist())}

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod."""
        import torch

        channels = self._channels
        if channels is None:
            return {}
        keep = torch.ones(channels.count, dtype=torch.bool)
        scores = self._scores(channels)
        for group in channels.groups:
            units = torch.tensor(group.units)
            kept_count = planned_keep(len(units), sparsity)
            order = torch.argsort(scores[units], descending=True, stable=True)
            keep[units[order[kept_count:]]] = False
        return {name: self._rows(channels, name, keep) for name in self._tensors}

    def _scores(self, channels: "Channels") -> "Tensor":
        """Return the summed L1 norm of each label's filters; masked filters are zero and stay last."""
        import torch

        scores = torch.zeros(channels.count, dtype=torch.float64)
        for name in channels.filters:
            if name in self._tensors:
                norms = self._tensors[name].detach().abs().flatten(1).sum(1).double().cpu()
                pruned = ~self._masks[name].flatten(1).any(1).cpu()
                scores.index_add_(0, torch.from_numpy(channels.rows[name]), norms.masked_fill(pruned, -1.0))
        return scores

    def _rows(self, channels: "Channels", name: str, keep: "Tensor") -> "Tensor":
        import torch

        tensor = self._tensors[name]
        rows = keep[torch.from_numpy(channels.rows[name])].to(tensor.device)
        return rows.view(-1, *(1,) * (tensor.dim() - 1)).expand_as(tensor).clone()

    @property
    def sparsity(self) -> float:
        """See Method. The share refers to the prunable filters."""
        channels = self._channels
        if channels is None:
            return 0.0
        units = {unit for group in channels.groups for unit in group.units}
        total = pruned = 0
        for name in channels.filters:
            if name in self._masks:
                rows = self._masks[name].flatten(1).any(1).tolist()
                prunable = [
                    is_kept
                    for is_kept, label in zip(rows, channels.rows[name].tolist(), strict=True)
                    if label in units
                ]
                total, pruned = total + len(prunable), pruned + prunable.count(False)
        return pruned / total if total else 0.0
