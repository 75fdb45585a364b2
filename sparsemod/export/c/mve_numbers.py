"""The numbers of a layer for cores with Helium (MVE), and the names that its kernels share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c.layers import Context
from sparsemod.export.c.special import Plain
from sparsemod.quantization.layers import Weighted
from sparsemod.templates import render

CONDITION = "NN_MVE"
HEADER = "nn_mve.h"

_LONGEST = 31  # bits of a shift to the right

Int64 = NDArray[np.int64]


def filled(template: str, **values: Any) -> str:
    """Return a template of the C export with its values."""
    return render("sparsemod.export.c", template, **values)


def first_values(context: Context, layer: Weighted) -> Int64:
    """Return the sums' first values: biases with the input's zero point folded in."""
    sums = layer.weight.astype(np.int64).reshape(len(layer.weight), -1).sum(axis=1)
    return np.asarray(layer.bias.astype(np.int64) - context.zero(layer.inputs[0]) * sums, np.int64)


@dataclass(frozen=True)
class Rescaling:
    """How sums become outputs: all sums are shifted to the `left`, and the doubled high word of each channel's product to the right by
    `shift`, which is at least 1. `bias`: the sums' first values."""

    left: int
    shift: Int64
    bias: Int64

    @classmethod
    def of(cls, context: Context, layer: Weighted) -> "Rescaling | Plain":
        """Return the numbers of a layer, or why they allow no kernel of its own."""
        encoding = context.encodings.get(layer.name, "dense")
        if encoding == "plain":
            return Plain("chosen for its smaller flash")
        if encoding != "dense":
            return Plain(f"its weights are stored as {encoding}")
        bias, used = first_values(context, layer), layer.multiplier != 0
        shift = np.where(used, -layer.shift.astype(np.int64), 1)
        left = int(max(0, 1 - shift.min()))
        shift += left
        if int((_largest(layer, bias)[used] << left).max(initial=0)) >= 2**31:
            return Plain(f"a factor of {2.0 ** (left - 2):g} or above, with sums that leave no room for it")
        if int(shift.max()) > _LONGEST:
            return Plain(f"its factors differ by {int(shift.max() - shift.min())} bits")
        return cls(left, shift, bias)


def _largest(layer: Weighted, bias: Int64) -> Int64:
    """Return the largest absolute value of each channel's sum over bytes from -128 to 127."""
    flat = layer.weight.astype(np.int64).reshape(len(layer.weight), -1)
    positive, negative = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    highest, lowest = bias + 127 * positive - 128 * negative, bias - 128 * positive + 127 * negative
    return np.asarray(np.maximum(np.abs(highest), np.abs(lowest)), np.int64)


def words(values: Int64) -> NDArray[np.int8]:
    """Return 32-bit numbers as bytes."""
    return values.astype("<i4").view(np.int8)
