"""The processes of one training: parts of batches, averaged gradients, common decisions."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.seeds import derived_seed
from sparsemod.sequences import Batch
from sparsemod.training.rules import LossFunction


def scaled_loss(loss: LossFunction, factor: float) -> LossFunction:
    """Return the loss times a factor."""
    return lambda outputs, targets: loss(outputs, targets) * factor


class Alone:
    """A training in one process: everything is its own."""

    rank = 0
    size = 1

    def share(self, x: Batch, y: Tensor, indices: Tensor) -> tuple[Batch, Tensor, Tensor, float]:
        """Return this process's part of a batch, and the factor of its mean loss.

        The mean over the processes of their losses times their factors is the mean loss of the batch.
        """
        return x, y, indices, 1.0

    def running(self, module: nn.Module) -> nn.Module:
        """Return the module to call in training, whose backward pass averages the gradients over the processes."""
        return module

    def layers(self, module: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which layers that look at a whole batch see those of all processes."""
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes."""
        return value

    def decided(self, *numbers: float) -> tuple[float, ...]:
        """Return the numbers of process 0."""
        return numbers

    def reseed(self, seed: int, epoch: int) -> None:
        """Let each process draw other random values in its network (dropout)."""


class Group(Alone):
    """Process `rank` of `size`, joined by torch.distributed's default process group, with its network on `device`."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self._device = rank, size, device
        self.idle = False

    def share(self, x: Batch, y: Tensor, indices: Tensor) -> tuple[Batch, Tensor, Tensor, float]:
        """See Alone. In a batch of fewer samples than processes, the others compute the first sample with the factor 0."""
        count = len(y)
        start, stop = (place * count // self.size for place in (self.rank, self.rank + 1))
        self.idle = start == stop
        factor = (stop - start) * self.size / count
        if self.idle:
            start, stop = 0, 1
        return x[start:stop], y[start:stop], indices[start:stop], factor

    def running(self, module: nn.Module) -> nn.Module:
        """See Alone."""
        from torch.nn.parallel import DistributedDataParallel

        wrapped: Any = DistributedDataParallel(
            module, find_unused_parameters=True, gradient_as_bucket_view=True
        )
        wrapped.uses_lengths = getattr(module, "uses_lengths", False)
        return wrapped  # type: ignore[no-any-return]

    def layers(self, module: nn.Module) -> AbstractContextManager[None]:
        """See Alone."""
        from sparsemod.training.parallel.norms import synchronized

        return synchronized(module, lambda: self.idle)

    def mean(self, value: Tensor) -> Tensor:
        """See Alone."""
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.size

    def decided(self, *numbers: float) -> tuple[float, ...]:
        """See Alone."""
        sent = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        torch.distributed.broadcast(sent, 0)
        return tuple(sent.tolist())

    def reseed(self, seed: int, epoch: int) -> None:
        """See Alone."""
        if self.rank:
            torch.manual_seed(derived_seed(seed, epoch, "module", self.rank))
