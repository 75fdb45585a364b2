"""ShuffleNet. Source: Zhang et al., "ShuffleNet: an extremely efficient convolutional neural network", 2018."""

import torch
from torch import Tensor, nn

from sparsemod.networks.initialization import he_normal

_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
"""Output channels of the second stage, by the number of groups."""


class ShuffleUnit(nn.Module):
    """Grouped 1 x 1, channel shuffle, depthwise 3 x 3, grouped 1 x 1; with stride 2 concatenated with the pooled input."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int, first: bool) -> None:
        super().__init__()
        inner, made = outputs // 4, outputs - inputs if stride == 2 else outputs
        self.groups = groups
        self.reduce = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, groups=1 if first else groups, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
        )
        self.rest = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner),
            nn.Conv2d(inner, made, 1, groups=groups, bias=False), nn.BatchNorm2d(made),
        )  # fmt: skip
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.reduce(x)
        n, channels, height, width = y.shape
        y = y.reshape(n, self.groups, channels // self.groups, height, width).transpose(1, 2)
        y = self.rest(y.reshape(n, channels, height, width))
        joined: Tensor = self.relu(x + y if self.pool is None else torch.cat([self.pool(x), y], 1))
        return joined


class ShuffleNet(nn.Sequential):
    """Stem, three stages of units, average, linear."""

    taps = ("stage2", "stage3", "stage4")
    substitutes_skip = ("stem",)


def shufflenet(shape: tuple[int, int, int], classes: int, groups: int) -> nn.Module:
    """Return ShuffleNet 1x with this number of groups."""
    module, channels = ShuffleNet(), 24
    module.add_module(
        "stem",
        nn.Sequential(
            nn.Conv2d(shape[0], 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        ),
    )
    for stage, units in ((2, 4), (3, 8), (4, 4)):
        outputs, parts = _CHANNELS[groups] * 2 ** (stage - 2), []
        for unit in range(units):
            parts.append(
                ShuffleUnit(channels, outputs, groups, 2 if unit == 0 else 1, stage == 2 and unit == 0)
            )
            channels = outputs
        module.add_module(f"stage{stage}", nn.Sequential(*parts))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flatten", nn.Flatten())
    module.add_module("classifier", nn.Linear(channels, classes))
    he_normal(module, linear=("classifier",))
    return module
