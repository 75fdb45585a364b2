"""The network that DARTS found on CIFAR-10 (second order). Source: Liu, Simonyan, Yang, "DARTS", 2019."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.networks.initialization import he_normal

NORMAL = (
    ("sep", 0), ("sep", 1), ("sep", 0), ("sep", 1), ("sep", 1), ("skip", 0), ("skip", 0), ("dil", 2),
)  # fmt: skip
REDUCE = (
    ("pool", 0), ("pool", 1), ("skip", 2), ("pool", 1), ("pool", 0), ("skip", 2), ("skip", 2), ("pool", 1),
)  # fmt: skip
"""The published genotype: two operations with their inputs for each of four nodes. All kernels are 3 x 3."""


def separable(inputs: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """Return relu, a depthwise and a pointwise convolution, and batch norm."""
    return [
        nn.ReLU(),
        nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, inputs, bias=False),
        nn.Conv2d(inputs, inputs, 1, bias=False),
        nn.BatchNorm2d(inputs),
    ]


class Shortcut(nn.Module):
    """A skip connection that changes the number of channels, by a 1 x 1 convolution, or the size too, by two of stride 2."""

    def __init__(self, inputs: int, outputs: int, reduces: bool) -> None:
        super().__init__()
        self.relu, self.norm = nn.ReLU(), nn.BatchNorm2d(outputs)
        if reduces:
            self.even = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
            self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.reduces = reduces

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ...)."""
        x = self.relu(x)
        x = torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1) if self.reduces else self.conv(x)
        joined: Tensor = self.norm(x)
        return joined


class Cell(nn.Module):
    """Two inputs, four nodes that add two operations each, concatenated."""

    def __init__(self, older: int, last: int, channels: int, reduces: bool, reduced_before: bool) -> None:
        super().__init__()
        self.first = Shortcut(older, channels, reduced_before)
        self.second = Shortcut(last, channels, False)
        self.genotype = REDUCE if reduces else NORMAL
        self.operations = nn.ModuleList(
            _operation(kind, channels, 2 if reduces and source < 2 else 1) for kind, source in self.genotype
        )
        self.drop_path = 0.0

    def forward(self, older: Tensor, last: Tensor) -> Tensor:
        """Map the outputs of the two cells before to (N, 4 x channels, ...)."""
        states = [self.first(older), self.second(last)]
        results = zip(self.operations, self.genotype, strict=True)
        for _ in range(4):
            (a, (_, i)), (b, (_, j)) = next(results), next(results)
            states.append(self._dropped(a, states[i]) + self._dropped(b, states[j]))
        return torch.cat(states[2:], 1)

    def _dropped(self, operation: nn.Module, x: Tensor) -> Tensor:
        y: Tensor = operation(x)
        if not self.training or self.drop_path == 0 or isinstance(operation, nn.Identity):
            return y
        keep = 1.0 - self.drop_path
        return y * torch.bernoulli(torch.full((len(y), 1, 1, 1), keep, device=y.device)) / keep


class AuxiliaryHead(nn.Module):
    """The classifier of the training behind the second reducing cell; published for outputs of 8 x 8."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, classes). Other sizes than 8 x 8 are averaged to 2 x 2."""
        x = functional.relu(x)
        pooled = (
            functional.avg_pool2d(x, 5, 3) if x.shape[2:] == (8, 8) else functional.adaptive_avg_pool2d(x, 2)
        )
        logits: Tensor = self.classifier(self.features(pooled))
        return logits


class Darts(nn.Module):
    """Stem, cells (those at one and two thirds halve the image), average, linear."""

    substitutes_skip = ("stem",)
    shortcuts = ("*.first.*", "*.second.*", "*.even", "*.odd")
    """Patterns of the 1 x 1 convolutions in skip connections."""

    def __init__(self, channels: int, classes: int, cells: int, width: int) -> None:
        super().__init__()
        size = 3 * width
        self.stem = nn.Sequential(nn.Conv2d(channels, size, 3, padding=1, bias=False), nn.BatchNorm2d(size))
        self.cells, older, last, reduced = nn.ModuleList(), size, size, False
        places = (cells // 3, 2 * cells // 3)
        for place in range(cells):
            reduces = place in places
            width *= 2 if reduces else 1
            self.cells.append(Cell(older, last, width, reduces, reduced))
            older, last, reduced = last, 4 * width, reduces
            if place == places[1]:
                self._auxiliary = (f"cells.{place}", last, classes)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(last, classes)
        self.taps = tuple(f"cells.{place - 1}" for place in places if place)

    def set_drop_path(self, probability: float) -> None:
        """Drop each operation's result with this probability in training."""
        for cell in self.cells:
            cell.drop_path = probability  # type: ignore[assignment]

    def auxiliary_head(self) -> tuple[str, nn.Module]:
        """Return the name of the second reducing cell, and a classifier of its outputs for the training."""
        layer, channels, classes = self._auxiliary
        head = AuxiliaryHead(channels, classes)
        he_normal(head, linear=("classifier",))
        return layer, head

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, classes)."""
        older = last = self.stem(x)
        for cell in self.cells:
            older, last = last, cell(older, last)
        logits: Tensor = self.classifier(self.head(last))
        return logits


def darts(shape: tuple[int, int, int], classes: int, cells: int = 20, width: int = 36) -> nn.Module:
    """Return the network with this many cells and channels."""
    module = Darts(shape[0], classes, cells, width)
    he_normal(module, linear=("classifier",))
    return module


def _operation(kind: str, channels: int, stride: int) -> nn.Module:
    if kind == "pool":
        return nn.MaxPool2d(3, stride, 1)
    if kind == "skip":
        return nn.Identity() if stride == 1 else Shortcut(channels, channels, True)
    if kind == "dil":
        return nn.Sequential(*separable(channels, stride, 2))
    return nn.Sequential(*separable(channels, stride), *separable(channels, 1))
