"""Gaussian noise."""

import torch
from torch import Tensor

from sparsemod.training.augmentation.base import AUGMENTATIONS, real


@AUGMENTATIONS.register("noise")
class Noise:
    """Adds independent Gaussian noise to every value of images or vectors."""

    def __init__(self, shape: tuple[int, ...], deviation: float = 0.1) -> None:
        """`deviation` in units of the normalized data, 0 to 10. Raises InvalidInput."""
        self._deviation = real("deviation", deviation, 0, 10)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Samples (N, *shape)."""
        noise = torch.empty(x.shape).normal_(generator=generator).to(x.device)
        # x decides the memory format of the sum, noise alone would be channels first.
        return torch.add(x, noise, alpha=self._deviation)
