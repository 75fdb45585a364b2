"""DenseNets for small images. Source: Huang et al., "Densely connected convolutional networks", 2017."""

import torch
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.networks.initialization import he_normal


class DenseLayer(nn.Module):
    """Batch norm, relu and 1 x 1 to 4 x growth channels; batch norm, relu and 3 x 3 to `growth`; both joined to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, inputs + growth, H, W)."""
        new = self.conv2(self.relu2(self.norm2(self.conv1(self.relu1(self.norm1(x))))))
        return torch.cat([x, new], 1)


class DenseNet(nn.Sequential):
    """Stem, three blocks of dense layers with transitions that halve channels and size, batch norm, relu, average, linear."""

    taps = ("block1", "block2", "block3")
    substitutes_skip = ("stem",)

    def __init__(self, channels: int, classes: int, depth: int, growth: int) -> None:
        super().__init__()
        before = 2 * growth
        self.add_module("stem", nn.Conv2d(channels, before, 3, 1, 1, bias=False))
        for block in (1, 2, 3):
            layers = []
            for _ in range((depth - 4) // 6):
                layers.append(DenseLayer(before, growth))
                before += growth
            self.add_module(f"block{block}", nn.Sequential(*layers))
            if block < 3:
                half = nn.Conv2d(before, before // 2, 1, bias=False)
                self.add_module(
                    f"transition{block}",
                    nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), half, nn.AvgPool2d(2)),
                )
                before //= 2
        self.add_module("norm", nn.BatchNorm2d(before))
        self.add_module("relu", nn.ReLU())
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("classifier", nn.Linear(before, classes))


def densenet(shape: tuple[int, int, int], classes: int, depth: int, growth: int = 12) -> nn.Module:
    """Return DenseNet-BC of this depth and growth. Raises InvalidInput for another depth than 6 n + 4."""
    if depth < 10 or (depth - 4) % 6:
        raise InvalidInput("network", f"densenet-{depth}", "a depth of 6 n + 4: 10, 16, 22, 40, 100")
    module = DenseNet(shape[0], classes, depth, growth)
    he_normal(module, linear=("classifier",))
    return module
