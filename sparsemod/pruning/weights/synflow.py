"""SynFlow (unstructured): remove the weights with the smallest share of the flow through the network."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.masks import at_start
from sparsemod.pruning.plan import planned_pruned
from sparsemod.pruning.weights.method import ScoredConfig, WeightMethod
from sparsemod.spec.methods import PruningSchedule

if TYPE_CHECKING:
    from torch import Tensor


class SynflowConfig(ScoredConfig):
    """Keys of synflow."""

    schedule: PruningSchedule = Field(
        default_factory=at_start, description="When how much of the sparsity is asked for."
    )
    rounds: int = Field(
        20, ge=1, description="Rounds of scoring, over which the density falls exponentially."
    )


@METHODS.register("synflow")
class Synflow(WeightMethod[SynflowConfig]):
    """Zeroes the weights of smallest |w| x dR/d|w|, where R is the output for ones with all weights positive.

    Norms take part with the absolute value of their scale and without a mean, recurrent layers as linear ones
    that add up their gates (see `recurrent_flow`). The scores are computed again
    in each round, so that no layer is cut off. By default before the training. Source: Tanaka et al.,
    "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020.
    """

    Config = SynflowConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod."""
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        from sparsemod.pruning.weights.recurrent_flow import make_linear

        module = copy.deepcopy(self.context.module).eval().to("cpu", torch.float64)
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    tensor.abs_()
            for part in module.modules():
                if isinstance(part, _BatchNorm) and part.running_mean is not None:
                    part.running_mean.zero_()
        make_linear(module)
        weights = {name: module.get_parameter(name) for name in self._tensors}
        ones = torch.ones(1, *self.shape, dtype=torch.float64)
        score: dict[str, Tensor] = {}
        for turn in range(1, self.config.rounds + 1):
            with torch.enable_grad():
                flow = module(ones).sum()
                found = torch.autograd.grad(
                    flow, list(weights.values()), allow_unused=True, materialize_grads=True
                )
            score = {n: (w.detach() * g).abs() for (n, w), g in zip(weights.items(), found, strict=True)}
            if turn < self.config.rounds:
                self._cut(weights, score, 1 - (1 - sparsity) ** (turn / self.config.rounds))
        return score

    def _cut(self, weights: "Mapping[str, Tensor]", score: "Mapping[str, Tensor]", sparsity: float) -> None:
        """Zero the lowest scores of the copy; each layer keeps its best weight."""
        import torch

        together = torch.cat([s.reshape(-1) for s in score.values()])
        gone = planned_pruned(len(together), sparsity)
        if not gone:
            return
        keep = torch.ones_like(together, dtype=torch.bool)
        keep[torch.argsort(together, stable=True)[:gone]] = False
        with torch.no_grad():
            for part, tensor in zip(
                keep.split([s.numel() for s in score.values()]), weights.values(), strict=True
            ):
                best = tensor.reshape(-1).abs().argmax()
                part[best] = True
                tensor.mul_(part.view_as(tensor))
