"""Static quantization rules of the layers that make features of frames."""

import math
from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.graph import Operator
from sparsemod.quantization.layers import Layer
from sparsemod.quantization.layers.signals import BandEnergies, WindowStatistics
from sparsemod.quantization.static import RULES, Build, Float64
from sparsemod.signals import tables


@RULES.register("band_energies")
def _band_energies(build: Build, operator: Operator) -> Layer:
    a, (source,) = operator.attributes, build.sources(operator)
    # P is four times the energy in steps of the input, and the weights of bands have 10 bits.
    floor = math.log2(a["floor"]) + 2 + tables.WEIGHT_BITS - 2 * math.log2(source.scale)
    return BandEnergies(
        **build.base(operator), **_scaled(build, operator, np.array([2.0**-tables.LOG_BITS])), rate=a["rate"], bands=a["bands"],
        low_hz=a["low"], high_hz=a["high"], mel=a["mel"], coefficients=a["coefficients"],
        floor=math.floor(floor * 2**tables.LOG_BITS + 0.5),
    )  # fmt: skip


@RULES.register("window_statistics")
def _window_statistics(build: Build, operator: Operator) -> Layer:
    n, (source,) = operator.attributes["window"], build.sources(operator)
    units = np.array([source.scale / n] * 4 + [2.0**-15 / n])
    return WindowStatistics(**build.base(operator), **_scaled(build, operator, units))


def _scaled(build: Build, operator: Operator, units: Float64) -> dict[str, Any]:
    """Return the fields of the last step, and set the scale of the output. `units`: real value of 1, of each feature of a channel."""
    gain, offset = build.weight_and_bias(operator)
    if not (np.isfinite(gain).all() and np.isfinite(offset).all()):
        raise InvalidInput(f"layer {operator.name!r}", "gains", "finite values; the network has diverged")
    output = build.spanned(operator.output, 0.0)
    build.tensors[operator.output] = output
    factor = gain * np.tile(units, len(gain) // len(units)) * 256 / output.scale
    exponent = np.frexp(factor)[1]
    shift = np.clip(22 - exponent, 1, 55)
    multiplier = np.clip(np.rint(factor * np.exp2(shift)), -(2**23), 2**23)
    shifted = np.clip(np.rint(offset * 256 / output.scale), -(2**30), 2**30)
    return {
        "window_size": operator.attributes["window"], "hop": operator.attributes["hop"], "multiplier": multiplier.astype(np.int32),
        "shift": shift.astype(np.int32), "offset": shifted.astype(np.int32),
    }  # fmt: skip
