"""Loop counts, and bytes of constants, of the kernels that make features of frames."""

import math

from sparsemod.arena import Node
from sparsemod.layouts import Tensors
from sparsemod.measure.work import CONSTANTS, FEATURES, Loops
from sparsemod.signals import tables

_SCALE = 9
"""Bytes of a feature's multiplier, offset and shift."""


def _frames(tensors: Tensors, node: Node) -> float:
    """Return the frames of all channels."""
    return float(tensors.image(node.inputs[0])[0] * tensors.image(node.output)[2])


@FEATURES.register("band_energies")
def band_energies(tensors: Tensors, node: Node) -> Loops:
    """Count frames, their samples, the numbers of the FFT, butterflies, bins, bands, and products of the cepstrum."""
    a, frames = node.attributes, _frames(tensors, node)
    size = tables.fft_size(int(a["window"]))
    starts, _ = tables.steps(size, _corners(node))
    bands, coefficients = int(a["bands"]), int(a["coefficients"])
    return Loops(
        "band_energies",
        {
            "frames": frames,
            "samples": frames * int(a["window"]),
            "numbers": frames * size,
            "butterflies": frames * size / 4 * (math.log2(size) - 1),
            "bins": frames * float(starts[-1] - starts[0]),
            "bands": frames * bands,
            "products": frames * bands * coefficients,
            "features": frames * (coefficients or bands),
        },
    )


def _corners(node: Node) -> tables.Float64:
    a = node.attributes
    size = tables.fft_size(int(a["window"]))
    return tables.edges(size, a["rate"], int(a["bands"]), a["low"], a["high"], bool(a["mel"]))


@FEATURES.register("window_statistics")
def window_statistics(tensors: Tensors, node: Node) -> Loops:
    """Count frames and their samples."""
    frames = _frames(tensors, node)
    return Loops("window_statistics", {"frames": frames, "samples": frames * int(node.attributes["window"])})


@CONSTANTS.register("band_energies")
def band_bytes(tensors: Tensors, node: Node) -> int:
    """Return the bytes of the window, the sines, the bands, the logarithms, the cosines and the scales."""
    a = node.attributes
    size, bands = tables.fft_size(int(a["window"])), int(a["bands"])
    starts, _ = tables.steps(size, _corners(node))
    numbers = (
        int(a["window"]) + size // 4 + 1 + bands + 2 + int(starts[-1] - starts[0]) + tables.LOG_SEGMENTS + 1
    )
    return 2 * (numbers + bands * int(a["coefficients"])) + _SCALE * tensors.image(node.output)[0]


@CONSTANTS.register("window_statistics")
def statistics_bytes(tensors: Tensors, node: Node) -> int:
    """Return the bytes of the scales."""
    return _SCALE * tensors.image(node.output)[0]
