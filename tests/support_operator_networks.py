"""Random networks of functions, pairs, copies, transposed convolutions and normalizations."""

from collections.abc import Callable

import numpy as np
import torch
from support_operators import Applied, leaky, normed
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.quantization import IntegerNetwork, quantize

Step = Callable[[np.random.Generator, tuple[int, ...]], nn.Module]

_FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.sigmoid, torch.tanh, functional.silu, functional.gelu, functional.hardswish, functional.mish, functional.elu, functional.selu,
    functional.softplus, torch.abs, torch.square, lambda x: functional.leaky_relu(x, 0.1), lambda x: x.clamp(-0.5, 1.5),
    lambda x: 0.5 * x * (1 + torch.erf(x / 1.4142)), lambda x: functional.relu(x) * 2 - 1, lambda x: (x.abs() + 0.1).sqrt(),
    lambda x: x * functional.relu6(x + 3) / 6, lambda x: torch.exp(-x.abs()),
)  # fmt: skip


def _conv(rng: np.random.Generator, inputs: int, outputs: int, rank: int, size: int = 1) -> nn.Module:
    kind = nn.Conv1d if rank == 2 else nn.Conv2d
    return kind(inputs, outputs, size, padding=size // 2)


def _function(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    chosen = _FUNCTIONS[rng.integers(len(_FUNCTIONS))]
    return leaky(shape[0]) if rng.random() < 0.2 else Applied(chosen)


def _pair(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    function = (torch.mul, torch.sub, torch.add, torch.maximum, torch.minimum)[rng.integers(5)]
    activation = (lambda x: x, torch.sigmoid, torch.relu)[rng.integers(3)]
    way = rng.integers(3)
    if way == 0:  # one number for each channel
        axes = tuple(range(2, len(shape) + 1))
        gate = _conv(rng, shape[0], shape[0], len(shape))
        return Applied(lambda x, g: function(x, activation(g(x.mean(axes, keepdim=True)))), gate)
    outputs = 1 if way == 1 else shape[0]
    return Applied(lambda x, c: activation(function(c(x), x)), _conv(rng, shape[0], outputs, len(shape)))


def _copy(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    rank, last = len(shape), shape[-1]
    rest = (0, 0) if rank == 3 else ()
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.flip(rank),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1) if x.shape[1] > 1 else x,
        lambda x: x.transpose(1, 3) if rank == 3 else x,
        lambda x: x.repeat_interleave(2, 1),
        lambda x: functional.pad(x, (1, 2)),
        lambda x: functional.pad(x, (1, 1, *rest), mode="replicate"),
        lambda x: functional.interpolate(x, scale_factor=2),
        lambda x: torch.roll(x, 1, rank),
    ]
    if last > 2:
        ways += [
            lambda x: x[..., 1:],
            lambda x: x[..., ::2],
            lambda x: functional.pad(x, (2, 1, *rest), mode="circular"),
        ]
        ways += [lambda x: functional.interpolate(x, size=last + 3 if rank == 2 else (shape[1], last + 3))]
    if rank == 3:
        ways += [lambda x: x.permute(0, 2, 3, 1), lambda x: functional.pad(x, (0, 0, 0, 0, 1, 0))]
        ways += [lambda x: functional.pad(x, (1, 0, 0, 1), mode="reflect") if min(x.shape[2:]) > 1 else x]
        if shape[0] % 4 == 0:
            ways += [lambda x: functional.pixel_shuffle(x, 2), lambda x: functional.channel_shuffle(x, 2)]
        if shape[1] % 2 == shape[2] % 2 == 0:
            ways += [lambda x: functional.pixel_unshuffle(x, 2)]
    return Applied(ways[rng.integers(len(ways))])


def _resized(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    kernel, stride = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    padding = int(rng.integers(0, (kernel + 1) // 2))
    outputs = int(rng.integers(1, 6))
    if rng.random() < 0.5:
        kind = nn.ConvTranspose1d if len(shape) == 2 else nn.ConvTranspose2d
        if stride * (shape[-1] - 1) + kernel - 2 * padding > 0 and min(shape[1:]) > 1:
            return kind(shape[0], outputs, kernel, stride, padding)
    mode, aligned = "linear" if len(shape) == 2 else "bilinear", bool(rng.integers(2))
    sizes = [int(size + rng.integers(0, size + 2)) for size in shape[1:]]
    return Applied(lambda x: functional.interpolate(x, size=sizes, mode=mode, align_corners=aligned))


def _normalized(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    ways: list[Callable[[], nn.Module]] = [
        lambda: nn.Softmax(1),
        lambda: nn.Softmax(len(shape)),
        lambda: nn.LogSoftmax(int(rng.integers(1, len(shape) + 1))),
        lambda: Applied(lambda x: functional.normalize(x, dim=1)),
        lambda: normed(
            nn.GroupNorm(int(rng.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])), shape[0])
        ),
        lambda: normed(nn.LayerNorm(shape)),
        lambda: normed(nn.LayerNorm(shape[-1])),
        lambda: Applied(lambda x: functional.layer_norm(x.movedim(1, -1), shape[:1]).movedim(-1, 1)),
    ]
    if min(shape[1:]) > 1:
        ways += [lambda: Applied(lambda x: functional.instance_norm(x))]
    return ways[rng.integers(len(ways))]()


def _product(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    """Products of matrices, attention over the last axis, or a constant for each element."""
    way = rng.integers(4)
    if way == 0:
        return Applied(lambda x: x @ x.transpose(-1, -2) if x[0].numel() <= 400 else x)
    if way == 1:
        return Applied(lambda x: x.transpose(-1, -2) @ x if x[0].numel() <= 400 else x)
    if way == 2:
        return Applied(lambda x: functional.scaled_dot_product_attention(x, x.flip(2), x))
    return Constants(rng, shape)


class Constants(nn.Module):
    """A sum with a constant for each element."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.from_numpy(rng.normal(size=shape)).float())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.values


def _mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    return _conv(rng, shape[0], int(rng.integers(1, 9)), len(shape), int(rng.choice([1, 3])))


_STEPS: tuple[Step, ...] = (
    _function,
    _function,
    _pair,
    _pair,
    _copy,
    _copy,
    _copy,
    _resized,
    _normalized,
    _normalized,
    _product,
    _mixed,
)


class DrawnOperators:
    """A random network: `module`, `x`, the integer `network` and random int8 `images`."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            shape = ((4, 6, 8), (3, 5, 7), (4, 12), (6, 9), (1, 7, 4))[rng.integers(5)]
            self.x = 2 * torch.randn(8, *shape)
            steps, y = [], self.x
            while len(steps) < 5:
                step = _STEPS[rng.integers(len(_STEPS))](rng, tuple(y.shape[1:])).eval()
                made = step(y)
                if made[0].numel() <= 3000:
                    steps.append(step)
                    y = made
            self.module = nn.Sequential(*steps).eval()
            network = quantize(self.module, self.x)
        assert isinstance(network, IntegerNetwork)
        self.network = network
        self.images = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
