"""The torch module of the family `fcn`."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from sparsemod.networks.initialization import he_normal
from sparsemod.records import DataInfo


class FcnModule(nn.Module):
    """Blocks `b{i}` that halve the image, and a classifier of each position. Maps (N, C, H, W) to (N, classes, h, w).

    `grid`: halvings of the image that give (h, w). With `skip`, the maps of classes of the finer blocks, down to that
    grid, are added to the enlarged one of the last block.
    """

    def __init__(
        self, blocks: Sequence[tuple[int, int]], grid: int, skip: bool, data: DataInfo, batch_norm: bool
    ) -> None:
        super().__init__()
        self.grid, self.skip = grid, skip
        channels = data.shape[0]
        for number, (filters, kernel) in enumerate(blocks, 1):
            parts: OrderedDict[str, nn.Module] = OrderedDict(
                conv=nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=not batch_norm)
            )
            if batch_norm:
                parts["norm"] = nn.BatchNorm2d(filters)
            parts["relu"] = nn.ReLU()
            self.add_module(f"b{number}", nn.Sequential(parts))
            self.add_module(f"pool{number}", nn.MaxPool2d(2))
            channels = filters
        self.count = len(blocks)
        self.classifier = nn.Conv2d(channels, data.classes, 1)
        self.finer = nn.ModuleDict({
            f"at{number}": nn.Conv2d(blocks[number][0], data.classes, 1)
            for number in (range(grid, len(blocks)) if skip else ())
        })  # fmt: skip
        he_normal(self, linear=("classifier",))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes at each position."""
        fine: list[Tensor] = []
        for number in range(1, self.count + 1):
            features = getattr(self, f"b{number}")(x)
            fine.append(features)
            x = getattr(self, f"pool{number}")(features)
        scores: Tensor = self.classifier(x)
        for number in reversed(range(self.grid, self.count)):
            scores = functional.interpolate(scores, scale_factor=2, mode="nearest")
            if self.skip:
                scores = scores + self.finer[f"at{number}"](fine[number])
        return scores


def build(
    blocks: Sequence[tuple[int, int]], grid: int, skip: bool, data: DataInfo, batch_norm: bool
) -> FcnModule:
    """Build the module from (filters, kernel) of each block."""
    return FcnModule(blocks, grid, skip, data, batch_norm)
