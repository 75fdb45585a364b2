"""Blocks of random calibration networks with functions, pairs, copies and normalizations."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LayersChannelsSize = tuple[list[nn.Module], int, list[int]]
Block = Callable[[np.random.Generator, int, list[int]], LayersChannelsSize]


class Applied(nn.Module):
    """A function of the input and of some layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.function(x, *self.layers)


def _wide(rng: np.random.Generator, low: int = 3, high: int = 28) -> int:
    return int(rng.integers(low, high))


def _function(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    chosen = (nn.Hardswish, nn.SiLU, nn.Tanh, nn.LeakyReLU)[rng.integers(4)]
    wide = _wide(rng)
    return [nn.Conv2d(channels, wide, 1), chosen()], wide, size


def _prelu(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    wide = _wide(rng)
    return [nn.Conv2d(channels, wide, 1), nn.PReLU(wide)], wide, size


def _excited(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    """Squeeze and excite, or a gate of each position."""
    wide = _wide(rng)
    if rng.random() < 0.5:
        gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 4, 1), nn.ReLU(), nn.Conv2d(4, wide, 1))
    else:
        gate = nn.Sequential(nn.Conv2d(wide, 1 if rng.random() < 0.5 else wide, 1))
    return [nn.Conv2d(channels, wide, 1), Applied(lambda x, g: x * torch.sigmoid(g(x)), gate)], wide, size


def _combined(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    wide = _wide(rng)
    function = (torch.sub, torch.maximum, torch.minimum, torch.add)[rng.integers(4)]
    outputs = 1 if function is torch.add or rng.random() < 0.3 else wide
    other = nn.Conv2d(wide, outputs, 1)
    return [nn.Conv2d(channels, wide, 1), Applied(lambda x, c: function(x, c(x)), other)], wide, size


def _shuffled(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    groups, each = int(rng.integers(2, 5)), _wide(rng, 2, 9)
    wide = groups * each
    return (
        [nn.Conv2d(channels, wide, 1), Applied(lambda x: functional.channel_shuffle(x, groups))],
        wide,
        size,
    )


def _resized(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    """Twice the rows and columns, or half of them, by one of several copies or by interpolation."""
    wide = _wide(rng, 2, 12)
    if min(size) > 16 or rng.random() < 0.2:
        half = [s // 2 * 2 for s in size]
        cut = Applied(lambda x: x[:, :, : half[0], : half[1]])
        if rng.random() < 0.5:
            return [nn.Conv2d(channels, wide, 1), cut, nn.PixelUnshuffle(2)], 4 * wide, [s // 2 for s in half]
        sliced = Applied(lambda x: x[:, :, ::2, ::2])
        return [nn.Conv2d(channels, wide, 1), cut, sliced], wide, [s // 2 for s in half]
    made = [2 * s for s in size]
    way = rng.integers(4)
    if way == 0:
        return [nn.Conv2d(channels, 4 * wide, 1), nn.PixelShuffle(2)], wide, made
    if way == 1:
        return [nn.Conv2d(channels, wide, 1), nn.Upsample(scale_factor=2)], wide, made
    return [nn.Conv2d(channels, wide, 1), nn.Upsample(scale_factor=2, mode="bilinear")], wide, made


def _taken(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    """Padding around positions, or of channels."""
    if rng.random() < 0.3:
        more = _wide(rng, 1, 9)
        return [Applied(lambda x: functional.pad(x, (0, 0, 0, 0, 0, more)))], channels + more, size
    around = int(rng.integers(1, 3))
    if min(size) <= around:
        return [nn.Conv2d(channels, channels, 1)], channels, size
    mode = ("reflect", "replicate", "constant")[rng.integers(3)]
    padded = Applied(lambda x: functional.pad(x, (around,) * 4, mode=mode))
    return [padded, nn.MaxPool2d(2, 1)], channels, [s + 2 * around - 1 for s in size]


def _normalized(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    """Groups of channels over all positions, or the channels of each position."""
    groups, each = int(rng.integers(1, 5)), _wide(rng, 1, 9)
    wide = groups * each
    conv = nn.Conv2d(channels, wide, 1)
    if rng.random() < 0.6:
        return [conv, nn.GroupNorm(wide if rng.random() < 0.3 else groups, wide)], wide, size
    norm = nn.LayerNorm(wide)
    return [conv, Applied(lambda x, n: n(x.movedim(1, -1)).movedim(-1, 1), norm)], wide, size


def _attended(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    """Attention of one or several heads over positions, of which at most 64 are left."""
    heads, each = int(rng.integers(1, 4)), _wide(rng, 2, 9)
    wide, side = heads * each, max(1, -(-max(size) // 8))
    made = [-(-s // side) for s in size]

    def attention(x: Tensor) -> Tensor:
        split = x.flatten(2).unflatten(1, (heads, each)).transpose(2, 3)
        return functional.scaled_dot_product_attention(split, split, split).transpose(2, 3).reshape(x.shape)

    return [nn.Conv2d(channels, wide, 1, side), Applied(attention)], wide, made


BLOCKS: tuple[Block, ...] = (
    _function, _function, _prelu, _excited, _excited, _combined, _combined, _shuffled, _resized, _resized, _resized, _resized, _taken, _taken,
    _normalized, _normalized, _attended, _attended,
)  # fmt: skip


def ending(rng: np.random.Generator) -> list[nn.Module]:
    """Return a last layer: softmax, its logarithm, vectors of length 1, or none."""
    way = rng.integers(4)
    if way == 0:
        return [nn.Softmax(1)]
    if way == 3:
        return [nn.LogSoftmax(1)]
    return [Applied(lambda x: functional.normalize(x, dim=1))] if way == 1 else []


def inner(rng: np.random.Generator) -> list[nn.Module]:
    """Return softmax, its logarithm or vectors of length 1 at each position, once or twice, or none of them."""
    way, count = rng.integers(5), int(rng.integers(1, 3))
    if way == 0:
        return [nn.Softmax(1) for _ in range(count)]
    if way == 4:
        return [nn.LogSoftmax(1) for _ in range(count)]
    return [Applied(lambda x: functional.normalize(x, dim=1)) for _ in range(count)] if way == 1 else []
