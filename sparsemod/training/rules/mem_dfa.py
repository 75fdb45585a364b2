"""Direct feedback alignment with memory that does not grow with depth."""

from typing import TYPE_CHECKING

from sparsemod.training.rules.base import RULES, LossFunction
from sparsemod.training.rules.direct import DirectRule
from sparsemod.training.rules.matrices import FeedbackConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.sequences import Batch


@RULES.register("mem-dfa")
class MemoryDirectFeedback(DirectRule[FeedbackConfig]):
    """The gradients of dfa, layer by layer in a second forward pass, so that one layer's activations exist at a time.

    A first forward pass stores nothing and gives the output's error. The second one uses the same weights and random
    numbers. Each layer is updated as soon as its gradient is known, where the training allows it (no gradient clipping),
    so that its gradient need not be kept either. Source: Chrabaszcz et al., "ZPP-MEM", arXiv 2012.11745, 2020.
    """

    Config = FeedbackConfig

    def gradients(self, x: "Batch", y: "Tensor", loss: LossFunction) -> "Tensor":
        """See TrainingRule."""
        import torch

        from sparsemod.sequences import tensor_of

        x = tensor_of(x)
        state, cuda = torch.get_rng_state(), torch.cuda.get_rng_state(x.device) if x.is_cuda else None
        buffers = [buffer.clone() for unit in self.units for buffer in unit.buffers()]
        with torch.no_grad():
            outputs = x
            for unit in self.units:
                outputs = unit(outputs)
        value, error = self.error(outputs, y, loss)
        del outputs
        signal = self.signal(error, y)
        with torch.no_grad():
            for buffer, before in zip((b for u in self.units for b in u.buffers()), buffers, strict=True):
                buffer.copy_(before)
        del buffers
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, x.device)
        for place, unit in enumerate(self.units):
            x = unit(x.detach())
            gradient = error if place == len(self.units) - 1 else self.projected(place + 1, signal, x)
            if unit.parameters():
                torch.autograd.backward(x, gradient)
            del gradient
            x = x.detach()
            if self.update is not None:
                self.update()
        return value
