"""The input of a pruning method from the training loop: the network, its data and its loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsemod.graph.capture import evaluating
from sparsemod.sequences import Batch, call, plain_kernels
from sparsemod.training.resident import Samples
from sparsemod.training.rules import LossFunction

_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """One training: `module` on its device, the training `samples` there, the `loss` of a batch, the training's `seed`."""

    module: nn.Module
    samples: Samples
    loss: LossFunction
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.samples.shape

    @property
    def layout(self) -> str | None:
        """The layout of one sample, or None if it is unknown."""
        return self.samples.layout

    def batches(self, size: int = _BATCH) -> Iterator[tuple[Batch, Tensor]]:
        """Yield all training samples (n, *shape) with their labels (n,), in order, `size` at a time."""
        for start in range(0, len(self.samples), size):
            yield self.samples.slice(start, min(start + size, len(self.samples)))

    def gradients(self, samples: int | None = None) -> dict[str, Tensor]:
        """Return the gradient of the mean loss, by parameter name.

        The loss is over the first `samples` training samples (None: all). The gradient is computed by
        backpropagation in evaluation mode. The module and its parameters' `grad` are restored.
        """
        left = len(self.samples) if samples is None else min(samples, len(self.samples))
        count, parameters = left, dict(self.module.named_parameters())
        parameters = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        with evaluating(self.module), plain_kernels(self.module), torch.enable_grad():
            for x, y in self.batches():
                if left <= 0:
                    break
                x, y = x[:left], y[:left]
                left -= len(y)
                value = self.loss(call(self.module, x), y) * len(y) / count
                gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
                for (_, sum_), part in zip(total.items(), gradients, strict=True):
                    if part is not None:
                        sum_ += part
        return total
