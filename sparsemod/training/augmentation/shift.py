"""Small translations."""

import torch
from torch import Tensor

from sparsemod.training.augmentation.base import AUGMENTATIONS, image_shape, whole


@AUGMENTATIONS.register("shift")
class Shift:
    """Moves each image by up to `pixels` in both directions; border pixels are repeated into the gap."""

    def __init__(self, shape: tuple[int, ...], pixels: int = 2) -> None:
        """`pixels` from 1 to the image's smaller side - 1. Raises InvalidInput."""
        _, self._height, self._width = image_shape("shift", shape)
        self._pixels = whole("pixels", pixels, 1, max(1, min(self._height, self._width) - 1))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W)."""
        moves = torch.randint(-self._pixels, self._pixels + 1, (2, len(x), 1), generator=generator).to(
            x.device
        )
        rows = (torch.arange(self._height, device=x.device) + moves[0]).clamp_(0, self._height - 1)
        columns = (torch.arange(self._width, device=x.device) + moves[1]).clamp_(0, self._width - 1)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        # Channels go last and come along as whole vectors.
        return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
