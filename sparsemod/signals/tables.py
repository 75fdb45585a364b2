"""Tables of the spectral layers: windows, frequency bands and cosines, as real numbers and in fixed point.

Frame f of a signal covers the `window` samples that end with sample (f + 1) x `hop`; samples before the first one are zeros. A signal of
L samples has L // hop frames. So every frame is known as soon as its last sample is, and a stream has one frame for each `hop` samples.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SMALLEST_FFT, LARGEST_FFT = 32, 1024
WEIGHT_BITS = 10
"""Weights of bands are multiples of 2^-10."""
LOG_BITS = 15
"""Logarithms are multiples of 2^-15."""
LOG_SEGMENTS = 64
STATISTICS = ("mean", "std", "min", "max", "crossings")
"""The features of a window, in order."""


def fft_size(window: int) -> int:
    """Return the size of the FFT of a window: the next power of two, at least 32. Raises InvalidInput above 1024."""
    if not 2 <= window <= LARGEST_FFT:
        raise InvalidInput("window", window, f"a whole number from 2 to {LARGEST_FFT}")
    return max(SMALLEST_FFT, 1 << (window - 1).bit_length())


def check_frames(window: int, hop: int, samples: int | None = None) -> None:
    """Raise InvalidInput unless the window and the hop are possible, for a signal of `samples` samples when known."""
    fft_size(window)
    if not 1 <= hop <= 65535:
        raise InvalidInput("hop", hop, "a whole number from 1 to 65535")
    if samples is not None and hop > samples:
        raise InvalidInput("hop", hop, f"at most the {samples} samples of a signal")


def hann(window: int) -> Float64:
    """Return the periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def edges(size: int, rate: float, bands: int, low: float, high: float, mel: bool) -> Float64:
    """Return the bands + 2 corners of the triangular bands, in bins of an FFT of `size`.

    They are equally far apart in mel, 2595 log10(1 + Hz / 700), or in Hz; neighbours are at least one bin apart, so that no band is
    empty. Raises InvalidInput for frequencies that do not fit, and for more bands than the bins have room for.
    """
    if not (rate > 0 and 0 <= low < high <= rate / 2):
        raise InvalidInput("low, high", (low, high), f"0 <= low < high <= {rate / 2:g} Hz, half of the rate")
    if not 1 <= bands <= 128:
        raise InvalidInput("bands", bands, "a whole number from 1 to 128")
    if mel:
        first, last = (2595 * math.log10(1 + hz / 700) for hz in (low, high))
        corners = 700 * (10 ** (np.linspace(first, last, bands + 2) / 2595) - 1)
    else:
        corners = np.linspace(low, high, bands + 2)
    found = corners * size / rate
    for place in range(1, bands + 2):
        found[place] = max(found[place], found[place - 1] + 1)
    if found[-1] > size / 2 + 1e-9:
        room = int((high - low) * size / rate) - 1
        raise InvalidInput("bands", bands, f"at most about {max(room, 1)} bands of an FFT of {size} samples")
    return np.asarray(found)


def weights(size: int, corners: Float64) -> Float64:
    """Return the weights (bands, size / 2 + 1) of the bins in each band: triangles of height 1."""
    starts, rises = steps(size, corners)
    made = np.zeros((len(corners) - 2, size // 2 + 1))
    for interval in range(len(corners) - 1):
        for k in range(starts[interval], starts[interval + 1]):
            rise = rises[k - starts[0]]
            if interval < len(made):
                made[interval, k] = rise
            if interval > 0:
                made[interval - 1, k] = 1 - rise
    return made


def steps(size: int, corners: Float64) -> tuple[Int64, Float64]:
    """Return (the first bin of each interval between corners and the bin after the last one, the rising weight of each bin)."""
    starts = np.minimum(np.ceil(corners - 1e-9).astype(np.int64), size // 2 + 1)
    rises = []
    for interval in range(len(corners) - 1):
        low, high = corners[interval], corners[interval + 1]
        rises += [
            min(max((k - low) / (high - low), 0.0), 1.0)
            for k in range(starts[interval], starts[interval + 1])
        ]
    return starts, np.array(rises)


def cosines(coefficients: int, bands: int) -> Float64:
    """Return the first rows (coefficients, bands) of the orthonormal DCT-II."""
    if not 1 <= coefficients <= bands:
        raise InvalidInput("coefficients", coefficients, f"a whole number from 1 to the {bands} bands")
    j, b = np.arange(coefficients)[:, None], np.arange(bands)[None]
    made = np.cos(np.pi * j * (b + 0.5) / bands) * math.sqrt(2 / bands)
    made[0] /= math.sqrt(2)
    return np.asarray(made)


def fixed(values: Float64, bits: int, largest: int = 32767) -> Int64:
    """Return round(values x 2^bits), at most `largest` in absolute value."""
    return np.clip(np.floor(values * 2.0**bits + 0.5), -largest, largest).astype(np.int64)


def sines(size: int) -> Int64:
    """Return sin(2 pi k / size) for k = 0 ... size / 4, Q15."""
    return fixed(np.sin(2 * np.pi * np.arange(size // 4 + 1) / size), 15)


def logarithms() -> Int64:
    """Return round(2^15 log2(1 + k / 64)) for k = 0 ... 64."""
    return fixed(np.log2(1 + np.arange(LOG_SEGMENTS + 1) / LOG_SEGMENTS), LOG_BITS, 1 << LOG_BITS)
