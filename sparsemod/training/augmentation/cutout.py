"""Cutout (DeVries and Taylor, 2017)."""

import torch
from torch import Tensor

from sparsemod.training.augmentation.base import AUGMENTATIONS, image_shape, whole


@AUGMENTATIONS.register("cutout")
class Cutout:
    """Sets a square of each image to 0, the mean of normalized data; the square's centre is anywhere, so it may be cut by the border."""

    def __init__(self, shape: tuple[int, ...], size: int = 8) -> None:
        """`size` of the square's side in pixels, 1 to the image's larger side. Raises InvalidInput."""
        _, self._height, self._width = image_shape("cutout", shape)
        self._size = whole("size", size, 1, max(self._height, self._width))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W)."""
        inside = []
        for length in (self._height, self._width):
            first = torch.randint(0, length, (len(x), 1), generator=generator).to(x.device) - self._size // 2
            place = torch.arange(length, device=x.device)
            inside.append((place >= first) & (place < first + self._size))
        square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        # A clone keeps the memory format, masked_fill alone would not.
        return x.clone().masked_fill_(square, 0.0)
