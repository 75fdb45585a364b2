"""A dataset of sequences and a family of one-dimensional networks. No other file changes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from sparsemod.data import Arrays, dataset
from sparsemod.networks.family import family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Integer


@dataset("waves", shape=(2, 48), classes=3)
def waves(root: Path | None, samples: int = 480, noise: float = 0.4, seed: int = 0) -> Arrays:
    """Sequences (2 channels, 48 steps) of three frequencies, with random phase and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 3
    phase = rng.uniform(0, 2 * np.pi, (samples, 2, 1))
    frequency = np.array([0.2, 0.5, 0.9])[labels][:, None, None]
    x = np.sin(phase + np.arange(48) * frequency)
    return Arrays((x + noise * rng.normal(size=x.shape)).astype(np.float32), labels)


@family(
    "temporal",
    space=[Integer("filters", 2, 16, log=True), Integer("depth", 1, 3), Integer("kernel", 3, 7)],
    layouts=["channels-length"],
)
def temporal(parameters: Mapping[str, Value], data: DataInfo) -> nn.Module:
    """Convolutions over time, each followed by pooling; a mean over time and a linear layer."""
    layers: list[nn.Module] = []
    channels = data.shape[0]
    for level in range(int(parameters["depth"])):
        filters, kernel = int(parameters["filters"]) * 2**level, int(parameters["kernel"])
        layers += [
            nn.Conv1d(channels, filters, kernel, padding=kernel // 2),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
            nn.MaxPool1d(2),
        ]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, data.classes))
