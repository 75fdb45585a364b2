"""Sign symmetry."""

from typing import TYPE_CHECKING

from sparsemod.training.rules.base import RULES
from sparsemod.training.rules.fa import FeedbackAlignment

if TYPE_CHECKING:
    from torch import Tensor


@RULES.register("sign-symmetry")
class SignSymmetry(FeedbackAlignment):
    """As fa, where the random backward weights have the signs of the layers' own weights.

    Source: Liao, Leibo, Poggio, "How important is weight symmetry in backpropagation?", 2016.
    """

    def backward_weight(self, name: str, weight: "Tensor") -> "Tensor":
        """Return the magnitudes of the random weights with the signs of the layer's."""
        return super().backward_weight(name, weight).abs() * weight.detach().sign()
