"""Small translations."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.spec.methods import AugmentationConfig
from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation, at_most, image_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class ShiftConfig(AugmentationConfig):
    """Keys of shift."""

    pixels: int = Field(2, ge=1, description="Largest shift in pixels, below the image's smaller side.")


@AUGMENTATIONS.register("shift")
class Shift(Augmentation[ShiftConfig]):
    """Moves each image by up to `pixels` in both directions; border pixels are repeated into the gap."""

    Config = ShiftConfig

    def fit(self, shape: tuple[int, ...]) -> None:
        """Check that samples are images (C, H, W)."""
        _, self._height, self._width = image_shape("shift", shape)
        self._pixels = at_most("pixels", self.config.pixels, max(1, min(self._height, self._width) - 1))

    def __call__(self, x: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return shifted images (N, C, H, W)."""
        import torch

        moves = torch.randint(-self._pixels, self._pixels + 1, (2, len(x), 1), generator=generator).to(
            x.device
        )
        rows = (torch.arange(self._height, device=x.device) + moves[0]).clamp_(0, self._height - 1)
        columns = (torch.arange(self._width, device=x.device) + moves[1]).clamp_(0, self._width - 1)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        # Gather with channels last, so that each index copies a whole vector.
        return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
