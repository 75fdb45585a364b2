"""Horizontal mirror images."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.spec.methods import AugmentationConfig
from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation, image_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class FlipConfig(AugmentationConfig):
    """Keys of flip."""

    probability: float = Field(0.5, ge=0, le=1, description="Probability that an image is mirrored.")


@AUGMENTATIONS.register("flip")
class Flip(Augmentation[FlipConfig]):
    """Mirrors each image left to right with a probability."""

    Config = FlipConfig

    def fit(self, shape: tuple[int, ...]) -> None:
        """Check that samples are images (C, H, W)."""
        image_shape("flip", shape)

    def __call__(self, x: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return mirrored images (N, C, H, W)."""
        import torch

        mirrored = (torch.rand(len(x), generator=generator) < self.config.probability).to(x.device)
        return torch.where(mirrored[:, None, None, None], x.flip(3), x)
