"""Random networks of the schemes dynamic and both: on images, on sequences with positions, and recurrent ones."""

from typing import Any

import numpy as np
import torch
from support_graph import randomize
from support_recurrent import random_sequence_module
from torch import Tensor, nn

from sparsemod.quantization import quantize
from sparsemod.quantization.dynamic_network import DynamicNetwork

SCHEMES = ("dynamic", "both")


class Residual(nn.Module):
    """A layer whose input comes back as a sum, a difference, a product, a maximum or a minimum."""

    def __init__(self, layer: nn.Module, how: int) -> None:
        super().__init__()
        self.layer, self.how = layer, how

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        made: Tensor = (torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum)[self.how](y, x)
        return made


class Joined(nn.Module):
    """Two layers side by side, their channels joined."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x), x], 1)


class Excited(nn.Module):
    """Each channel times a factor that follows from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        factors = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


class Shifted(nn.Module):
    """Constants for each element are added, and the image is flipped."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.flip(x, [2]) + self.constants)


class Taken(nn.Module):
    """Every second row and the last channels, with padding around."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x[:, -3:, ::2], (1, 0, 2, 1))


def _activation(rng: np.random.Generator, channels: int) -> nn.Module:
    made: list[nn.Module] = [
        nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.1),
        nn.PReLU(channels), nn.Hardtanh(-0.7, 1.3), nn.Identity(),
    ]  # fmt: skip
    return made[rng.integers(len(made))]


def _conv(rng: np.random.Generator, channels: int, out: int, *, same: bool = False) -> nn.Conv2d:
    size = int(rng.choice([1, 3])) if same else int(rng.integers(1, 4))
    groups = channels if out == channels and rng.random() < 0.4 else 1
    return nn.Conv2d(
        channels, out, size, stride=1 if same else int(rng.integers(1, 3)), groups=groups,
        padding=size // 2 if same else int(rng.integers(0, 2)), bias=bool(rng.random() < 0.8),
    )  # fmt: skip


def random_image_module(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return (module, (channels, height, width))."""
    shape = int(rng.integers(1, 5)), int(rng.integers(5, 11)), int(rng.integers(5, 11))
    layers: list[nn.Module] = []

    def now() -> tuple[int, ...]:
        with torch.no_grad():
            return tuple(nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1:])

    for _ in range(int(rng.integers(2, 6))):
        channels, height, width = now()
        kind = int(rng.integers(8))
        if kind == 0 and min(height, width) >= 3:
            layers.append(nn.MaxPool2d(2, int(rng.integers(1, 3)), ceil_mode=bool(rng.integers(2))))
        elif kind == 1 and min(height, width) >= 3:
            pads = int(rng.integers(0, 2))
            layers.append(nn.AvgPool2d(3, 2, pads, bool(rng.integers(2)), bool(rng.integers(2))))
        elif kind == 2:
            layers.append(Residual(_conv(rng, channels, channels, same=True), int(rng.integers(5))))
        elif kind == 3:
            layers.append(Joined(_conv(rng, channels, 2, same=True), _conv(rng, channels, 3, same=True)))
        elif kind == 4:
            layers.append(Excited(channels))
        elif kind == 5:
            layers.append(Shifted((channels, height, width)))
        elif kind == 6 and height >= 5:
            layers.append(Taken())
        elif min(height, width) >= 3:
            layers += [_conv(rng, channels, int(rng.choice([channels, rng.integers(1, 9)])))]
        layers.append(_activation(rng, now()[0]))
    channels, height, width = now()
    if rng.random() < 0.7:
        ends = [[nn.Flatten()], [nn.AdaptiveAvgPool2d(1), nn.Flatten()]]
        layers += ends[rng.integers(2)]
        layers.append(nn.Linear(now()[0], int(rng.integers(2, 7))))
    return nn.Sequential(*layers), shape


class DrawnDynamic:
    """A random network of seed `seed`: recurrent for odd seeds; its `module`, samples `x`, `lengths` or None."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            drawn: tuple[nn.Module, tuple[int, ...]]
            drawn = random_sequence_module(rng) if seed % 2 else random_image_module(rng)
            self.module, shape = drawn[0].eval(), drawn[1]
            randomize(self.module, seed)
            self.x = torch.randn(6, *shape) * torch.logspace(-1, 1, 6).reshape(-1, *(1,) * len(shape))
            self.lengths: Any = None
            if getattr(self.module, "uses_lengths", False):
                self.lengths = torch.from_numpy(rng.integers(1, shape[0] + 1, len(self.x)))
            scheme = SCHEMES[seed // 2 % 2]
            layout = "time-features" if seed % 2 else None
            network = quantize(self.module, self.x, scheme, layout=layout, lengths=self.lengths)
        assert isinstance(network, DynamicNetwork)
        self.network = network

    @property
    def steps(self) -> np.ndarray | None:
        """The valid steps of the samples."""
        return None if self.lengths is None else np.asarray(self.lengths.numpy())

    @property
    def case(self) -> tuple[DynamicNetwork, np.ndarray, np.ndarray | None]:
        """The network, samples and lengths for the compiled code."""
        return self.network, self.x.numpy(), self.steps

    def expected(self) -> np.ndarray:
        """The network's outputs."""
        return self.network.logits(self.x, self.steps)
