"""Global magnitude pruning (unstructured): the smallest weights of the whole network become zero."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS, Plan
from sparsemod.pruning.masks import MaskConfig, MaskMethod
from sparsemod.pruning.plan import planned_pruned
from sparsemod.pruning.weights import graph_weights, prunable_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph


class MagnitudeConfig(MaskConfig):
    """Keys of magnitude."""

    sparsity: float = Field(
        0.5, ge=0, lt=1, description="Share of all weights of convolutions and linear layers to remove."
    )


@METHODS.register("magnitude")
class Magnitude(MaskMethod[MagnitudeConfig]):
    """Zeroes the round(sparsity x weights) weights of smallest |w| over all conv and linear layers together.

    Every layer keeps its largest weight, because a layer of zeros cuts the network in two. At sparsities
    that would leave fewer weights than layers, one weight per layer remains. Ties go by position, so equal
    inputs give equal masks. Source: Han et al., "Learning both weights and connections for efficient neural
    networks", 2015.
    """

    Config = MagnitudeConfig

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method. One weight of each layer always stays."""
        counts = graph_weights(graph)
        return Plan(
            graph, min(planned_pruned(sum(counts.values()), sparsity), sum(counts.values()) - len(counts))
        )

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod."""
        return prunable_weights(module)

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod."""
        import torch

        scores = []
        for name, tensor in self._tensors.items():
            # Previously pruned weights come first, because other weights may be exactly zero too.
            score = tensor.detach().abs().masked_fill(~self._masks[name], -1.0).flatten()
            score[score.argmax()] = torch.inf
            scores.append(score)
        together = torch.cat(scores)
        pruned = min(planned_pruned(together.numel(), sparsity), together.numel() - len(scores))
        keep = torch.ones_like(together, dtype=torch.bool)
        keep[torch.argsort(together, stable=True)[:pruned]] = False
        parts = keep.split([score.numel() for score in scores])
        return {name: part.view_as(t) for (name, t), part in zip(self._tensors.items(), parts, strict=True)}
