"""Movement pruning (unstructured): remove the weights that training moves towards zero."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsemod.pruning.base import METHODS, Context
from sparsemod.pruning.weights.method import ScoredConfig, WeightMethod

if TYPE_CHECKING:
    from torch import Tensor


class MovementConfig(ScoredConfig):
    """Keys of movement."""


@METHODS.register("movement")
class Movement(WeightMethod[MovementConfig]):
    """Zeroes the weights of smallest score, where each step adds -w x gradient to a weight's score.

    A weight that moves away from zero gains. Before the first step, and between equal scores, |w| decides.
    The schedule should begin after some epochs. Source: Sanh et al., "Movement pruning: adaptive sparsity by
    fine-tuning", 2020.
    """

    Config = MovementConfig

    def start(self, context: Context) -> None:
        """See Method."""
        import torch

        super().start(context)
        self._moved = {name: torch.zeros_like(tensor) for name, tensor in self._tensors.items()}

    def after_step(self) -> None:
        """See Method. Also collect the movement of the step."""
        if not self._at_target:
            for name, tensor in self._tensors.items():
                if tensor.grad is not None:
                    self._moved[name] -= tensor.detach() * tensor.grad
        super().after_step()

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod."""
        found = {}
        for name, tensor in self._tensors.items():
            moved, size = self._moved[name].double(), tensor.detach().abs().double()
            # far below any difference between two movements, except where nothing moved
            found[name] = moved + size / size.max().clamp_min(1e-300) * 1e-30
        return found

    def finish(self) -> None:
        """See Method."""
        super().finish()
        self._moved = {}

    def state_dict(self) -> dict[str, Any]:
        """See Method."""
        return {**super().state_dict(), "moved": {n: t.clone() for n, t in self._moved.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Method."""
        super().load_state_dict(state)
        self._moved = {n: t.to(self._moved[n].device).clone() for n, t in state["moved"].items()}
