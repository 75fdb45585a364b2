"""Horizontal mirror images."""

import torch
from torch import Tensor

from sparsemod.training.augmentation.base import AUGMENTATIONS, image_shape, real


@AUGMENTATIONS.register("flip")
class Flip:
    """Mirrors each image left to right with a probability."""

    def __init__(self, shape: tuple[int, ...], probability: float = 0.5) -> None:
        """`probability` in [0, 1]. Raises InvalidInput."""
        image_shape("flip", shape)
        self._probability = real("probability", probability, 0, 1)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W)."""
        chosen = (torch.rand(len(x), generator=generator) < self._probability).to(x.device)
        return torch.where(chosen[:, None, None, None], x.flip(3), x)
