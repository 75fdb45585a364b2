"""Gaussian noise."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.spec.methods import AugmentationConfig
from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class NoiseConfig(AugmentationConfig):
    """Keys of noise."""

    deviation: float = Field(
        0.1, ge=0, le=10, description="Standard deviation, in units of the normalized data."
    )


@AUGMENTATIONS.register("noise")
class Noise(Augmentation[NoiseConfig]):
    """Adds independent Gaussian noise to every value, of samples of any shape."""

    Config = NoiseConfig

    def __call__(self, x: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return samples (N, *shape) with noise added."""
        import torch

        noise = torch.empty(x.shape).normal_(generator=generator).to(x.device)
        # The memory format of the sum is that of x; noise alone would be channels first.
        return torch.add(x, noise, alpha=self.config.deviation)
