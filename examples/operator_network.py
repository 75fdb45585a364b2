"""A family that uses the operator of operator_absolute.py.

sparsemod run operator_absolute.yaml --import operator_network
"""

import operator_absolute  # noqa: F401 - registers the operator
import torch
from torch import nn

from sparsemod.networks.family import family
from sparsemod.space.parameters import Integer


class Folded(nn.Module):
    """A convolution, its absolute value, and a linear layer."""

    def __init__(self, channels, filters, size, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, stride=2, padding=1)
        self.last = nn.Linear(filters * size, classes)

    def forward(self, x):
        return self.last(torch.copysign(self.conv(x), 1).flatten(1))


@family("folded", space=[Integer("filters", 2, 8)], layouts=["channels-height-width"])
def folded(parameters, data):
    """One convolution of stride 2 and its absolute value, for images."""
    channels, height, width = data.shape
    return Folded(channels, int(parameters["filters"]), -(-height // 2) * -(-width // 2), data.classes)
