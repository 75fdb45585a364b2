"""Direct feedback alignment."""

from typing import TYPE_CHECKING

from sparsemod.training.rules.base import RULES, LossFunction
from sparsemod.training.rules.direct import DirectRule
from sparsemod.training.rules.matrices import FeedbackConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.sequences import Batch


@RULES.register("dfa")
class DirectFeedback(DirectRule[FeedbackConfig]):
    """The output's error reaches each layer through a fixed random matrix of its own.

    For layers in sequence; a residual block counts as one layer. Source: Nokland, "Direct feedback alignment provides
    learning in deep neural networks", 2016.
    """

    Config = FeedbackConfig

    def gradients(self, x: "Batch", y: "Tensor", loss: LossFunction) -> "Tensor":
        """See TrainingRule."""
        import torch

        from sparsemod.sequences import tensor_of

        x = tensor_of(x)
        outputs: list[Tensor] = []
        for unit in self.units:
            x = unit(x.detach())
            outputs.append(x)
        value, error = self.error(outputs[-1], y, loss)
        signal = self.signal(error, y)
        for place, output in enumerate(outputs):
            last = place == len(outputs) - 1
            gradient = error if last else self.projected(place + 1, signal, output)
            if self.units[place].parameters():
                torch.autograd.backward(output, gradient)
        return value
