"""GraSP (unstructured): remove the weights that the flow of gradients needs least."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.masks import at_start
from sparsemod.pruning.weights.method import ScoredConfig, WeightMethod
from sparsemod.spec.methods import PruningSchedule

if TYPE_CHECKING:
    from torch import Tensor


class GraspConfig(ScoredConfig):
    """Keys of grasp."""

    schedule: PruningSchedule = Field(
        default_factory=at_start, description="When how much of the sparsity is asked for."
    )
    samples: int = Field(256, ge=1, description="Training samples for the gradients, at most all.")


@METHODS.register("grasp")
class Grasp(WeightMethod[GraspConfig]):
    """Zeroes the weights with the largest -w x (H g), by default before the training.

    g is the gradient of the loss, H its Hessian. Without the weight, the squared norm of g changes by about
    twice that value. Source: Wang et al., "Picking winning tickets before training by preserving gradient
    flow", 2020.
    """

    Config = GraspConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod."""
        import torch

        from sparsemod.graph.capture import evaluating
        from sparsemod.sequences import call, plain_kernels

        context = self.context
        wanted = {n: t for n, t in self._tensors.items() if t.requires_grad}
        found = {name: torch.zeros_like(tensor) for name, tensor in self._tensors.items()}
        left = self.config.samples
        with evaluating(context.module), plain_kernels(context.module), torch.enable_grad():
            for x, y in context.batches(min(256, left)):
                if left <= 0 or not wanted:
                    break
                x, y, left = x[:left], y[:left], left - len(y)
                loss = context.loss(call(context.module, x), y)
                first = torch.autograd.grad(
                    loss, list(wanted.values()), create_graph=True, allow_unused=True, materialize_grads=True
                )
                norm = torch.stack([(g.detach() * g).sum() for g in first]).sum()
                if not norm.requires_grad:  # the gradient does not depend on the weights
                    continue
                second = torch.autograd.grad(
                    norm, list(wanted.values()), allow_unused=True, materialize_grads=True
                )
                for name, product in zip(wanted, second, strict=True):
                    found[name] += self._tensors[name].detach() * product * len(y)
        return found
