"""Random networks for calibration: from the families, with branches and pooling, with further operators, recurrent ones, and on signals."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sparsemod.calibration import operator_blocks
from sparsemod.calibration.recurrent_networks import recurrent_network
from sparsemod.calibration.signal_networks import signal_network
from sparsemod.errors import BuildError
from sparsemod.networks.family import create_family
from sparsemod.records import DataInfo

SHAPES = ((1, 8, 8), (1, 14, 14), (3, 16, 16), (1, 28, 28), (3, 24, 24), (3, 32, 32), (2, 11, 17))
MACS = (5_000, 1_500_000)
_KINDS = (
    "cnn", "cnn", "mlp", "free", "free", "free", "operators", "operators", "operators", "recurrent", "recurrent", "signal", "signal",
)  # fmt: skip


class Residual(nn.Module):
    """relu(x + inner(x))."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.relu(x + self.inner(x))


class Gate(nn.Module):
    """x + relu(x): an activation that cannot be fused into another layer."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + torch.relu(x)


class Parallel(nn.Module):
    """Branches whose outputs are concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def random_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return (module with random weights, input shape)."""
    kind = rng.choice(_KINDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        if kind == "recurrent":
            module, shape = recurrent_network(rng)
        elif kind == "signal":
            module, shape = signal_network(rng)
        elif kind in ("free", "operators"):
            module, shape = _without_family(rng, kind == "operators")
        else:
            module, shape = _family(str(kind), rng)
        _settle(module, rng)
    return module.eval(), shape


def _family(name: str, rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    options = {"max_filters": int(rng.integers(6, 64))} if name == "cnn" else {}
    family = create_family(name, options)
    while True:
        shape = SHAPES[rng.integers(len(SHAPES))]
        info = DataInfo(name="random", shape=shape, classes=int(rng.integers(2, 20)))
        try:
            return family.build(family.space(info).sample(rng), info), shape
        except BuildError:
            continue


def _settle(module: nn.Module, rng: np.random.Generator) -> None:
    """Make weights look trained: batch norms vary in scale; in a third of the networks many weights are zero."""
    sparse = rng.random() < 0.33
    for part in module.modules():
        if sparse and isinstance(part, nn.Conv2d | nn.Linear) and rng.random() < 0.8:
            share = rng.uniform(0.4, 0.98)
            with torch.no_grad():
                part.weight[torch.rand(part.weight.shape) < share] = 0

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) and part.affine:
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)


def free_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return (module, input shape) with random convolutions, pooling, branches and dense layers."""
    return _without_family(rng, False)


def _without_family(rng: np.random.Generator, operators: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a free network; with `operators`, half of its blocks have functions, pairs and copies."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    channels, size = shape[0], [shape[1], shape[2]]
    layers: list[nn.Module] = []
    for _ in range(int(rng.integers(1, 7))):
        blocks = operator_blocks.BLOCKS if operators and rng.random() < 0.75 else _BLOCKS
        block, channels, size = blocks[rng.integers(len(blocks))](rng, channels, size)
        layers += block
    if operators:
        layers += operator_blocks.inner(rng)
    classes = int(rng.integers(2, 20))
    if rng.random() < 0.5:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    else:
        wide = channels * size[0] * size[1]
        if wide > 6000:
            layers.append(nn.MaxPool2d(2))
            size = [size[0] // 2, size[1] // 2]
            wide = channels * size[0] * size[1]
        layers.append(nn.Flatten())
        if rng.random() < 0.5:
            hidden = int(rng.integers(4, 60))
            layers += [nn.Linear(wide, hidden), nn.ReLU()]
            wide = hidden
        layers.append(nn.Linear(wide, classes))
    if operators:
        layers += operator_blocks.ending(rng)
    return nn.Sequential(*layers), shape


LayersChannelsSize = tuple[list[nn.Module], int, list[int]]


def _convolution(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    filters = int(rng.integers(3, 40))
    kernel = int(rng.choice([1, 2, 3, 3, 3, 4, 5]))
    kernel = min(kernel, *size)
    stride, dilation = int(rng.choice([1, 1, 2])), 1
    groups = 1
    if rng.random() < 0.15 and channels % 2 == 0:
        groups, filters = 2, filters + filters % 2
    if rng.random() < 0.15 and min(size) > 2 * kernel:
        dilation = 2
    padding = int(rng.integers(0, kernel // 2 + 1))
    conv = nn.Conv2d(
        channels, filters, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    out = [(s + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for s in size]
    return [conv, nn.ReLU()] if rng.random() < 0.8 else [conv], filters, out


def _depthwise(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    filters, kernel = int(rng.integers(3, 40)), min(int(rng.choice([3, 3, 5])), *size)
    stride = int(rng.choice([1, 1, 2]))
    padding = kernel // 2
    wise = nn.Conv2d(channels, channels, kernel, stride=stride, padding=padding, groups=channels)
    out = [(s + 2 * padding - kernel) // stride + 1 for s in size]
    return [wise, nn.ReLU(), nn.Conv2d(channels, filters, 1), nn.ReLU()], filters, out


def _pool(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    if min(size) < 3:
        return [nn.Conv2d(channels, channels, 1)], channels, size
    kernel, stride = int(rng.choice([2, 2, 3])), int(rng.choice([1, 2, 2]))
    padding = int(rng.integers(0, kernel // 2 + 1))
    pool = (nn.MaxPool2d if rng.random() < 0.5 else nn.AvgPool2d)(kernel, stride=stride, padding=padding)
    return [pool], channels, [(s + 2 * padding - kernel) // stride + 1 for s in size]


def _residual(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    wide = int(rng.integers(4, 32))
    inner = nn.Conv2d(wide, wide, 3, padding=1) if rng.random() < 0.5 else nn.Conv2d(wide, wide, 1)
    return [nn.Conv2d(channels, wide, 1), nn.ReLU(), Residual(inner)], wide, size


def _parallel(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    one, other = int(rng.integers(3, 20)), int(rng.integers(3, 20))
    branches: list[nn.Module] = [
        nn.Conv2d(channels, one, 1),
        nn.Sequential(nn.Conv2d(channels, other, 3, padding=1), nn.ReLU()),
    ]
    total = one + other
    if rng.random() < 0.4:
        branches.append(nn.MaxPool2d(3, stride=1, padding=1))
        total += channels
    return [Parallel(*branches)], total, size


def _gate(rng: np.random.Generator, channels: int, size: list[int]) -> LayersChannelsSize:
    wide = int(rng.integers(4, 32))
    return [nn.Conv2d(channels, wide, int(rng.choice([1, 3])), padding="same"), Gate()], wide, size


Block = Callable[[np.random.Generator, int, list[int]], LayersChannelsSize]
_BLOCKS: tuple[Block, ...] = (
    _convolution, _convolution, _depthwise, _depthwise, _pool, _pool, _residual, _parallel, _gate,
)  # fmt: skip
