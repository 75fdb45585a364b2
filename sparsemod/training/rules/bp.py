"""Backpropagation (Rumelhart, Hinton, Williams, 1986), by autograd."""

from torch import Tensor, nn

from sparsemod.training.rules.base import RULES, Loss


@RULES.register("bp")
class Backpropagation:
    """Exact gradients."""

    def start(self, module: nn.Module, seed: int) -> None:
        """See TrainingRule; nothing is random."""
        self._module = module

    def gradients(self, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
        """See TrainingRule."""
        value = loss(self._module(x), y)
        value.backward()
        return value.detach()
