"""The torch module of the family `mlp`."""

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from sparsemod.networks.initialization import he_normal
from sparsemod.records import DataInfo


def build(widths: Sequence[int], dropout: float, data: DataInfo, batch_norm: bool) -> nn.Sequential:
    """Build `flatten`, then `l{i}`, `norm{i}`, `relu{i}` for each hidden layer, then `classifier`.

    Maps (N, *shape) to (N, classes).
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(data.shape)
    for number, units in enumerate(widths, 1):
        if number > 1:
            parts[f"drop{number}"] = nn.Dropout(dropout)
        parts[f"l{number}"] = nn.Linear(width, units, bias=not batch_norm)
        if batch_norm:
            parts[f"norm{number}"] = nn.BatchNorm1d(units)
        parts[f"relu{number}"] = nn.ReLU()
        width = units
    parts["drop"] = nn.Dropout(dropout)
    parts["classifier"] = nn.Linear(width, data.classes)
    module = nn.Sequential(parts)
    he_normal(module, linear=("classifier",))
    return module
