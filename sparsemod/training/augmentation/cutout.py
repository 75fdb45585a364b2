"""Cutout (DeVries and Taylor, 2017)."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.spec.methods import AugmentationConfig
from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation, at_most, image_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class CutoutConfig(AugmentationConfig):
    """Keys of cutout."""

    size: int = Field(8, ge=1, description="Side of the square in pixels, at most the image's larger side.")


@AUGMENTATIONS.register("cutout")
class Cutout(Augmentation[CutoutConfig]):
    """Sets a square of each image to 0, the mean of normalized data; the square's centre is anywhere, so the border may cut it."""

    Config = CutoutConfig

    def fit(self, shape: tuple[int, ...]) -> None:
        """Check that samples are images (C, H, W)."""
        _, self._height, self._width = image_shape("cutout", shape)
        self._size = at_most("size", self.config.size, max(self._height, self._width))

    def __call__(self, x: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return images (N, C, H, W) with a square cut out."""
        import torch

        inside = []
        for length in (self._height, self._width):
            first = torch.randint(0, length, (len(x), 1), generator=generator).to(x.device) - self._size // 2
            place = torch.arange(length, device=x.device)
            inside.append((place >= first) & (place < first + self._size))
        square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        # A clone keeps the memory format; masked_fill alone would not.
        return x.clone().masked_fill_(square, 0.0)
