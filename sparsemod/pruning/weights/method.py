"""The common base of methods that score single weights."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import Field

from sparsemod.pruning.base import Plan
from sparsemod.pruning.masks import MaskConfig, MaskMethod
from sparsemod.pruning.plan import planned_pruned, reached_note
from sparsemod.pruning.weights.allocation import apportion, capped_total, erdos_renyi
from sparsemod.pruning.weights.prunable import graph_weights, prunable_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph

Scope = Literal["global", "layer", "uniform"]


class WeightConfig(MaskConfig):
    """Keys of a method that sets single weights to zero."""

    sparsity: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of all weights of convolutions, linear and recurrent layers to remove.",
    )


class ScoredConfig(WeightConfig):
    """Keys of a method whose scores are comparable between layers."""

    scope: Scope = Field(
        "global",
        description="Where weights compete: `global` ranks those of all layers together; `layer` ranks those of "
        "each layer, whose share follows from its shape (Erdős-Rényi kernel: small layers keep more); `uniform` "
        "ranks those of each layer, and every layer loses the same share.",
    )


C = TypeVar("C", bound=WeightConfig)


class WeightMethod(MaskMethod[C]):
    """Zeroes exactly round(sparsity x weights) weights of convolutions, linear and recurrent layers, those of lowest score.

    Every layer keeps at least one weight, because a layer of zeros cuts the network in two. Ties go by
    position, so equal inputs give equal masks. Biases and norms are not pruned.
    """

    scope: ClassVar[Scope] = "uniform"
    """Where weights compete if the config has no key `scope`."""

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method."""
        counts = list(graph_weights(graph).values())
        return Plan(graph, capped_total(counts, planned_pruned(sum(counts), sparsity)))

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod."""
        return prunable_weights(module)

    @abstractmethod
    def scores(self, sparsity: float) -> "Mapping[str, Tensor]":
        """Return the importance of each weight, on any device, for pruning to `sparsity`."""

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod."""
        import torch

        found = self.scores(sparsity)
        scores = []
        for name in self._tensors:
            score = found[name].detach().double().cpu().reshape(-1)
            score = score.nan_to_num(nan=-1e300, posinf=1e300, neginf=-1e300)
            # Weights that are zero are pruned first: an earlier training has pruned them.
            score = score.masked_fill(self._tensors[name].detach().cpu().reshape(-1) == 0, -1e301)
            # Weights that are pruned already go first, because others may have the same score.
            score = score.masked_fill(~self._masks[name].cpu().reshape(-1), -torch.inf)
            score[score.argmax()] = torch.inf
            scores.append(score)
        masks = [torch.ones(len(score), dtype=torch.bool) for score in scores]
        for members, pruned in self._shares(sparsity):
            together = torch.cat([scores[m] for m in members])
            keep = torch.ones_like(together, dtype=torch.bool)
            keep[torch.argsort(together, stable=True)[:pruned]] = False
            for member, part in zip(members, keep.split([len(scores[m]) for m in members]), strict=True):
                masks[member] = part
        return {
            name: mask.view_as(tensor).to(tensor.device)
            for (name, tensor), mask in zip(self._tensors.items(), masks, strict=True)
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """See Method. Says the nearest reachable share where it differs by more than 0.5 % of the weights."""
        return reached_note(self.sparsity, self.config.sparsity) if self._masks and self._at_target else ()

    def _shares(self, sparsity: float) -> list[tuple[list[int], int]]:
        """Return sets of layers whose weights compete, by position, and how many weights each set loses."""
        counts = [tensor.numel() for tensor in self._tensors.values()]
        pruned = planned_pruned(sum(counts), sparsity)
        scope = getattr(self.config, "scope", self.scope)
        if scope == "global":
            return [(list(range(len(counts))), capped_total(counts, pruned))]
        shares = [1.0] * len(counts)
        if scope == "layer":
            shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
            shares = list(erdos_renyi(shapes, sparsity).values())
        return [([place], part) for place, part in enumerate(apportion(counts, shares, pruned))]
