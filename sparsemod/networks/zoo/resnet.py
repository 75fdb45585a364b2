"""ResNets for CIFAR and ImageNet, and WRN-50-2. Source: He et al., "Deep residual learning", 2015."""

from collections.abc import Sequence

from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.networks.initialization import he_normal


class Block(nn.Module):
    """Convolutions with batch norm, relu after all but the last, a shortcut, and relu.

    `sizes` are the channels after each convolution, `kernels` their kernels; the first 3 x 3 one has the stride.
    """

    def __init__(self, inputs: int, sizes: tuple[int, ...], kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, strided = inputs, False
        for size, kernel in zip(sizes, kernels, strict=True):
            step = stride if kernel == 3 and not strided else 1
            strided |= kernel == 3
            layers += [
                nn.Conv2d(before, size, kernel, step, kernel // 2, bias=False),
                nn.BatchNorm2d(size),
                nn.ReLU(),
            ]
            before = size
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != before:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, before, 1, stride, bias=False), nn.BatchNorm2d(before)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, sizes[-1], H / stride, W / stride)."""
        y: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return y


class ResNet(nn.Sequential):
    """Stem, groups of blocks, average, linear."""

    substitutes_skip = ("stem",)

    def __init__(
        self, stem: nn.Sequential, groups: list[nn.Sequential], pool: nn.Module, features: int, classes: int
    ) -> None:
        super().__init__()
        self.add_module("stem", stem)
        for number, group in enumerate(groups, 1):
            self.add_module(f"group{number}", group)
        self.add_module("pool", pool)
        self.add_module("flatten", nn.Flatten())
        self.add_module("classifier", nn.Linear(features, classes))
        self.taps = tuple(f"group{number}" for number in range(1, len(groups) + 1))


def cifar_resnet(
    shape: tuple[int, int, int], classes: int, depth: int, bottleneck: bool = False
) -> nn.Module:
    """Return the CIFAR ResNet with three groups of (depth - 2) / 6 blocks of 16, 32 and 64 channels.

    With `bottleneck`, each block has three convolutions and four times the channels at its end. Raises InvalidInput for a
    depth that is not 6 n + 2.
    """
    if depth < 8 or (depth - 2) % 6:
        raise InvalidInput(
            "network", f"resnet-{depth}", "a depth of 6 n + 2 (8, 20, 32, 56, 110), or 18, 34, 50, 101, 152"
        )
    stem = nn.Sequential(nn.Conv2d(shape[0], 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    blocks, pool = [(depth - 2) // 6] * 3, nn.AdaptiveAvgPool2d(1)
    if bottleneck:
        return _resnet(stem, 16, [(s, s, 4 * s) for s in (16, 32, 64)], (1, 3, 1), blocks, pool, classes)
    return _resnet(stem, 16, [(size, size) for size in (16, 32, 64)], (3, 3), blocks, pool, classes)


def imagenet_resnet(shape: tuple[int, int, int], classes: int, depth: int) -> nn.Module:
    """Return the ResNet with four groups and ImageNet's stem; bottlenecks from depth 50."""
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}[
        depth
    ]
    sizes = (64, 128, 256, 512)
    stem, pool = _imagenet_stem(shape[0]), _imagenet_pool(shape)
    if depth < 50:
        return _resnet(stem, 64, [(s, s) for s in sizes], (3, 3), blocks, pool, classes)
    return _resnet(stem, 64, [(s, s, 4 * s) for s in sizes], (1, 3, 1), blocks, pool, classes)


def wrn_50_2(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return WRN-50-2: ResNet-50 with twice the channels within the bottlenecks, which expand twofold."""
    sizes = [(2 * s, 2 * s, 4 * s) for s in (64, 128, 256, 512)]
    stem, pool = _imagenet_stem(shape[0]), _imagenet_pool(shape)
    return _resnet(stem, 64, sizes, (1, 3, 1), [3, 4, 6, 3], pool, classes)


def _imagenet_pool(shape: tuple[int, int, int]) -> nn.Module:
    height, width = ((length + 31) // 32 for length in shape[1:])
    return nn.AvgPool2d((height, width))


def _imagenet_stem(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )


def _resnet(
    stem: nn.Sequential,
    inputs: int,
    sizes: Sequence[tuple[int, ...]],
    kernels: tuple[int, ...],
    blocks: list[int],
    pool: nn.Module,
    classes: int,
) -> nn.Module:
    groups = []
    for number, (size, count) in enumerate(zip(sizes, blocks, strict=True)):
        parts = []
        for block in range(count):
            parts.append(Block(inputs, size, kernels, 2 if number and block == 0 else 1))
            inputs = size[-1]
        groups.append(nn.Sequential(*parts))
    module = ResNet(stem, groups, pool, inputs, classes)
    he_normal(module, linear=("classifier",))
    return module
