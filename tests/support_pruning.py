"""Small modules, one for each way in which channels can be coupled."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.pruning import METHODS
from sparsemod.training.context import TrainingContext
from sparsemod.training.resident import Samples


def context(
    module: nn.Module, shape: tuple[int, ...], samples: int = 8, layout: str | None = None
) -> TrainingContext:
    """A training of `module` on random samples of two classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, *shape, generator=generator)
    held = Samples.of(x, torch.arange(samples) % 2, layout=layout)
    return TrainingContext(module, held, functional.cross_entropy, seed=0)


def started(
    name: str,
    sparsity: float,
    module: nn.Module,
    shape: tuple[int, ...],
    schedule: str = "cubic",
    layout: str | None = None,
) -> Any:
    """A pruning method started on `module`; methods without a sparsity get none."""
    keys = {"sparsity": sparsity, "schedule": schedule}
    known = METHODS.config_of(name).model_fields
    method = METHODS.create(METHODS.config(name, **{key: keys[key] for key in keys if key in known}))
    method.start(context(module, shape, layout=layout))
    return method


class Plain(nn.Sequential):
    shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(10, 7, 3, stride=2), nn.ReLU6(), nn.Flatten(), nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 4),
        )  # fmt: skip


class FlattenBlocks(nn.Sequential):
    shape = (1, 6, 6)

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))


class Residual(nn.Module):
    shape = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.first = nn.Conv2d(8, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.behind = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(self.behind(x + self.second(functional.relu(self.first(x)))))
        return self.head(x.mean((2, 3)))


class Concat(nn.Module):
    shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 6, 1)
        self.b = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.c = nn.Conv2d(10, 10, 3, padding=1)
        self.head = nn.Linear(10 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1)))
        return self.head(functional.avg_pool2d(y + self.c(y), 2).flatten(1))


class Depthwise(nn.Module):
    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, stride=2, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(16, affine=False)
        self.project = nn.Conv2d(16, 6, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.norm(self.depthwise(functional.relu(self.expand(x)))))
        return self.head(self.pool(self.project(x))).flatten(1)


class Grouped(nn.Sequential):
    shape = (4, 5, 5)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 10, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 3),
        )  # fmt: skip


class Shuffled(nn.Module):
    """A bottleneck of ShuffleNet: grouped convolutions around a channel shuffle and a depthwise one, and a sum."""

    shape = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.reduce = nn.Conv2d(12, 18, 1, groups=3)
        self.norm = nn.BatchNorm2d(18)
        self.depthwise = nn.Conv2d(18, 18, 3, padding=1, groups=18)
        self.restore = nn.Conv2d(18, 12, 1, groups=3)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        y = functional.relu(self.norm(self.reduce(x)))
        n, channels, height, width = y.shape
        y = y.view(n, 3, channels // 3, height, width).transpose(1, 2).reshape(n, channels, height, width)
        return self.head((x + self.restore(self.depthwise(y))).mean((2, 3)))


class Recurrent(nn.Module):
    """A convolution over time, a bidirectional GRU of two layers, an LSTM without biases, and its last state."""

    shape = (5, 9)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(5, 8, 3, padding=1)
        self.gru = nn.GRU(8, 6, 2, bidirectional=True, batch_first=True)
        self.lstm = nn.LSTM(12, 10, bias=False, batch_first=True)
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.gru(functional.relu(self.conv(x)).transpose(1, 2))
        steps, (last, _) = self.lstm(steps)
        return self.head(torch.cat([last[-1], steps.mean(1)], 1))


class Shared(nn.Module):
    """One convolution used twice, and a linear layer on vectors."""

    shape = (2, 5, 5)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        return self.head(functional.relu(self.twice(functional.relu(self.twice(x)))).mean((2, 3)))


class Mlp(nn.Sequential):
    shape = (12,)

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 3)
        )


MODULES = (
    Plain, FlattenBlocks, Residual, Concat, Depthwise, Grouped, Shuffled, Recurrent, Shared, Mlp,
)  # fmt: skip


def seeded(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """The module with random weights and norms that have seen data."""
    torch.manual_seed(seed)
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module.eval()


def begun(name: str, module: nn.Module, shape: tuple[int, ...], samples: int = 16, **keys: Any) -> Any:
    method = METHODS.create(METHODS.config(name, **keys))
    method.start(context(module, shape, samples=samples))
    return method
