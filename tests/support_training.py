"""Small data and networks for tests of training."""

import torch
from torch import nn

from sparsemod.data import load
from sparsemod.spec.experiment import DatasetSpec
from sparsemod.training import Resident


def digits() -> Resident:
    """scikit-learn's digits, 400 samples."""
    return Resident.of(load(DatasetSpec(name="digits", limit=400)))


def small_cnn(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """A convolution network with batch norm for digits."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(32, 10),
    )


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether all weights and buffers are equal bit for bit."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
