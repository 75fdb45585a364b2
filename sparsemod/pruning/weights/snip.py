"""SNIP (unstructured): remove the weights that change the loss least."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.masks import at_start
from sparsemod.pruning.weights.method import ScoredConfig, WeightMethod
from sparsemod.spec.methods import PruningSchedule

if TYPE_CHECKING:
    from torch import Tensor


class SnipConfig(ScoredConfig):
    """Keys of snip."""

    schedule: PruningSchedule = Field(
        default_factory=at_start, description="When how much of the sparsity is asked for."
    )
    samples: int = Field(512, ge=1, description="Training samples for the gradient, at most all.")


@METHODS.register("snip")
class Snip(WeightMethod[SnipConfig]):
    """Zeroes the weights of smallest |w x gradient of the loss|, by default before the training.

    Source: Lee et al., "SNIP: single-shot network pruning based on connection sensitivity", 2019.
    """

    Config = SnipConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod. A weight without a gradient scores zero."""
        gradients = self.context.gradients(self.config.samples)
        return {
            name: (tensor.detach() * gradients[name]).abs() if name in gradients else tensor.detach() * 0
            for name, tensor in self._tensors.items()
        }
