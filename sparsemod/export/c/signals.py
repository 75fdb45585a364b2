"""C code of the layers that make features of frames."""

from typing import Any

import numpy as np

from sparsemod.export.c import text
from sparsemod.export.c.layers import EMITTERS, Array, Context, Emitted, shared
from sparsemod.quantization.layers.signals import BandEnergies, Framed, WindowStatistics
from sparsemod.signals import tables


def _framed(context: Context, layer: Framed) -> tuple[tuple[Array, ...], dict[str, Any]]:
    """Return the arrays and the fields of both layers."""
    channels, samples = context.shape(layer.inputs[0])
    name = context.array_name
    arrays = (
        Array("int32_t", f"{name}_multiplier", layer.multiplier),
        Array("int32_t", f"{name}_offset", layer.offset),
        Array("int8_t", f"{name}_shift", layer.shift),
    )
    pointers = ", ".join(f".{array.name.removeprefix(f'{name}_')} = {array.name}" for array in arrays)
    fields = {
        "scale": f"{{{pointers}, .zero = {context.zero(layer.output)}}}", "frames": samples // layer.hop, "channels": channels,
        "window": layer.window_size, "hop": layer.hop,
    }  # fmt: skip
    return arrays, fields


@EMITTERS.register("band_energies")
def _band_energies(context: Context, layer: BandEnergies) -> Emitted:
    arrays, fields = _framed(context, layer)
    starts, rises = tables.steps(layer.size, layer.corners())
    constants = {
        "hann": ("int16_t", tables.fixed(tables.hann(layer.window_size), 15), np.int16),
        "sines": ("int16_t", tables.sines(layer.size), np.int16),
        "starts": ("uint16_t", starts, np.uint16),
        "rises": ("uint16_t", tables.fixed(rises, tables.WEIGHT_BITS), np.uint16),
        "logarithms": ("uint16_t", tables.logarithms(), np.uint16),
    }
    if layer.coefficients:
        cosines = tables.fixed(tables.cosines(layer.coefficients, layer.bands), 15)
        constants["cosines"] = ("int16_t", cosines, np.int16)
    more = {
        key: shared(context, kind, key, values.astype(type_))
        for key, (kind, values, type_) in constants.items()
    }
    fields |= {key: array.name for key, array in more.items()}
    fields |= {
        "floor": layer.floor, "size": layer.size, "bands": layer.bands, "coefficients": layer.coefficients,
    }  # fmt: skip
    words = (
        f"{layer.coefficients} coefficients of {layer.bands} bands"
        if layer.coefficients
        else f"{layer.bands} bands"
    )
    return Emitted(
        [f"nn_band_energies(&{context.name}, {{in0}}, {{out}}, {{scratch}});"], ("nn_band_energies",),
        f"{words} of windows of {layer.window_size} samples, every {layer.hop}", (*arrays, *more.values()),
        text.struct("nn_band_layer", context.name, fields),
    )  # fmt: skip


@EMITTERS.register("window_statistics")
def _statistics(context: Context, layer: WindowStatistics) -> Emitted:
    arrays, fields = _framed(context, layer)
    return Emitted(
        [f"nn_window_statistics(&{context.name}, {{in0}}, {{out}});"], ("nn_window_statistics",),
        f"statistics of windows of {layer.window_size} samples, every {layer.hop}", arrays,
        text.struct("nn_statistics_layer", context.name, fields),
    )  # fmt: skip
