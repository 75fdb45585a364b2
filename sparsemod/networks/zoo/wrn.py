"""Wide ResNets. Source: Zagoruyko and Komodakis, "Wide residual networks", 2016."""

from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.networks.initialization import he_normal


class WideBlock(nn.Module):
    """Batch norm, relu and convolution, twice, and a shortcut: 1 x 1 where the number of channels changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(outputs), nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        ready = self.relu1(self.norm1(x))
        y: Tensor = self.conv2(self.relu2(self.norm2(self.conv1(ready))))
        return y + (x if self.shortcut is None else self.shortcut(ready))


class WideResNet(nn.Sequential):
    """Stem, three groups of blocks, batch norm, relu, average, linear."""

    taps = ("group1", "group2", "group3")
    substitutes_skip = ("stem", "*.shortcut")

    def __init__(self, channels: int, classes: int, depth: int, width: float) -> None:
        super().__init__()
        before = 16
        self.add_module("stem", nn.Conv2d(channels, before, 3, 1, 1, bias=False))
        for group, stride in ((1, 1), (2, 2), (3, 2)):
            size = int(8 * 2**group * width)
            blocks = []
            for number in range((depth - 4) // 6):
                blocks.append(WideBlock(before, size, stride if number == 0 else 1))
                before = size
            self.add_module(f"group{group}", nn.Sequential(*blocks))
        self.add_module("norm", nn.BatchNorm2d(before))
        self.add_module("relu", nn.ReLU())
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("classifier", nn.Linear(before, classes))


def wide_resnet(shape: tuple[int, int, int], classes: int, depth: int, width: float) -> nn.Module:
    """Return WRN-depth-width. Raises InvalidInput for another depth than 6 n + 4, or a width without channels."""
    if depth < 10 or (depth - 4) % 6:
        raise InvalidInput("network", f"wrn-{depth}-{width:g}", "a depth of 6 n + 4: 10, 16, 22, 28, 40")
    if int(16 * width) < 1:
        raise InvalidInput("network", f"wrn-{depth}-{width:g}", "a width of at least 1/16")
    module = WideResNet(shape[0], classes, depth, width)
    he_normal(module, linear=("classifier", "shortcut"))
    return module
