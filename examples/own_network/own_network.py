"""A dataset and a network family. In this folder: `sparsemod run own_network.yaml`"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from sparsemod.data import Arrays, dataset
from sparsemod.networks.family import family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Integer


@dataset("stripes")
def stripes(root: Path | None, samples: int = 900, noise: float = 0.8, seed: int = 0) -> Arrays:
    """Images of 12 x 12 with stripes in one of three directions, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 3
    row, column = np.mgrid[0:12, 0:12]
    phase = np.stack([row, column, row + column])[labels] + rng.integers(0, 4, samples)[:, None, None]
    images = np.where(phase % 4 < 2, 1.0, -1.0) + noise * rng.normal(size=(samples, 12, 12))
    return Arrays(images[:, None].astype(np.float32), labels)


@family(
    "strided",
    space=[Integer("filters", 2, 24, log=True), Integer("depth", 1, 2), Categorical("kernel", (3, 5))],
    layouts=["channels-height-width"],
)
def strided(parameters: Mapping[str, Value], data: DataInfo) -> nn.Module:
    """Convolutions of stride 2, each with twice the filters of the previous one, and a linear layer."""
    layers: list[nn.Module] = []
    channels, kernel = data.shape[0], int(parameters["kernel"])
    for level in range(int(parameters["depth"])):
        filters = int(parameters["filters"]) * 2**level
        layers += [
            nn.Conv2d(channels, filters, kernel, stride=2, padding=kernel // 2),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
        ]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, data.classes))
