"""Direct random target projection."""

from typing import TYPE_CHECKING

from sparsemod.training.rules.base import RULES
from sparsemod.training.rules.dfa import DirectFeedback

if TYPE_CHECKING:
    from torch import Tensor


@RULES.register("drtp")
class TargetProjection(DirectFeedback):
    """As dfa, with the labels in place of the output's error: a layer needs no forward pass of those after it.

    The last layer gets the exact error. Source: Frenkel, Lefebvre, Bol, "Learning without feedback: fixed random
    learning signals allow for feedforward training of deep neural networks", 2021.
    """

    def signal(self, error: "Tensor", y: "Tensor") -> "Tensor":
        """Return minus the one-hot labels, divided by the samples: the error of outputs that are all 0."""
        from torch.nn import functional

        return -functional.one_hot(y, error.shape[1]).to(error) / len(y)
