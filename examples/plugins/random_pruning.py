"""A pruning method: remove random weights, the same share of each layer."""

import torch
from pydantic import Field
from torch import Tensor, nn

from sparsemod.graph import Graph
from sparsemod.pruning import METHODS, Plan
from sparsemod.pruning.masks import MaskConfig, MaskMethod
from sparsemod.pruning.weights import graph_weights, prunable_weights


class RandomConfig(MaskConfig):
    """Keys besides `sparsity` and `schedule`, which every method with masks has."""

    draw: int = Field(0, ge=0, description="Number of the random mask within a training.")


@METHODS.register("random")
class Random(MaskMethod[RandomConfig]):
    """Zeroes random weights, the same share of each layer."""

    Config = RandomConfig

    def plan(self, graph: Graph, sparsity: float, owned: object = None) -> Plan:
        """Return the plan from which costs are predicted before training."""
        return Plan(graph, sum(int(sparsity * count) for count in graph_weights(graph).values()))

    def find(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the tensors to mask."""
        return prunable_weights(module)

    def choose(self, sparsity: float) -> dict[str, Tensor]:
        """Return the masks; called whenever the schedule increases the sparsity."""
        masks = {}
        for place, (name, tensor) in enumerate(self._tensors.items()):
            generator = torch.Generator().manual_seed(self.context.seed + 1000 * self.config.draw + place)
            order = torch.randperm(tensor.numel(), generator=generator)
            keep = torch.ones(tensor.numel(), dtype=torch.bool)
            keep[order[: int(sparsity * tensor.numel())]] = False
            masks[name] = keep.view_as(tensor).to(tensor.device)
        return masks
