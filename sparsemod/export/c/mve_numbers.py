"""The numbers of a layer for cores with Helium (MVE), and the names that its kernels share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c.layers import Context
from sparsemod.export.c.special import Plain
from sparsemod.quantization.layers import Weighted
from sparsemod.templates import render

CONDITION = "NN_MVE"
HEADER = "nn_mve.h"

Int64 = NDArray[np.int64]


def filled(template: str, **values: Any) -> str:
    """Return a template of the C export with its values."""
    return render("sparsemod.export.c", template, **values)


def shifts(layer: Weighted) -> Int64 | None:
    """Return the right shift of each channel after the doubled high word; None where a factor is too large."""
    found = -layer.shift.astype(np.int64)
    found[layer.multiplier == 0] = 1
    return found if found.min() >= 1 else None


def first_values(context: Context, layer: Weighted) -> Int64:
    """Return the sums' first values: biases with the input's zero point folded in."""
    sums = layer.weight.astype(np.int64).reshape(len(layer.weight), -1).sum(axis=1)
    return np.asarray(layer.bias.astype(np.int64) - context.zero(layer.inputs[0]) * sums, np.int64)


def plain(context: Context, layer: Weighted) -> Plain | None:
    """Say why a layer's numbers allow no kernel of its own; None where they do."""
    encoding = context.encodings.get(layer.name, "dense")
    if encoding != "dense":
        return Plain(f"its weights are stored as {encoding}")
    return Plain("a filter's factor is 1/2 or above") if shifts(layer) is None else None


def words(values: Int64) -> NDArray[np.int8]:
    """Return 32-bit numbers as bytes."""
    return values.astype("<i4").view(np.int8)
