"""The layers on signals in Python integers and plain loops over one sample, written from the layers' definitions."""

import math
from itertools import pairwise

import numpy as np

from sparsemod.quantization.layers.signals import BandEnergies, Framed
from sparsemod.signals import tables


def slow_signal(layer: Framed, x: np.ndarray, zero_out: int) -> np.ndarray:
    channels, samples = x.shape
    features = len(layer.multiplier) // channels
    out = np.empty((channels * features, samples // layer.hop), dtype=object)
    for channel in range(channels):
        signal = [int(v) for v in x[channel]]
        for f in range(samples // layer.hop):
            end = (f + 1) * layer.hop
            places = range(end - layer.window_size, end)
            frame = [signal[place] if place >= 0 else 0 for place in places]
            values = _bands(layer, frame) if isinstance(layer, BandEnergies) else _statistics(frame)
            for j, value in enumerate(values):
                o = channel * features + j
                scaled = (value * int(layer.multiplier[o])) >> int(layer.shift[o])
                out[o, f] = min(max(zero_out + ((scaled + int(layer.offset[o]) + 128) >> 8), -128), 127)
    return out


def _statistics(x: list[int]) -> list[int]:
    n, total = len(x), sum(x)
    above = [n * v > total for v in x]
    crossings = sum(a != b for a, b in pairwise(above))
    root = math.isqrt(n * sum(v * v for v in x) - total * total)
    return [total, root, n * min(x), n * max(x), crossings << 15]


def _bands(layer: BandEnergies, x: list[int]) -> list[int]:
    size, m = layer.size, layer.size // 2
    s = max(0, 15 - max(map(abs, x)).bit_length())
    hann = [round(2**15 * (0.5 - 0.5 * math.cos(2 * math.pi * n / len(x)))) for n in range(len(x))]
    y = [((v << s) * min(h, 32767) + (1 << 14)) >> 15 for v, h in zip(x, hann, strict=True)] + [0] * (
        size - len(x)
    )
    z = _fft([(y[2 * k], y[2 * k + 1]) for k in range(m)], size)
    powers = []
    for k in range(m + 1):
        (ar, ai), (br, bi) = z[k % m], z[(m - k) % m]
        re, im = _rotated((ai + bi, br - ar), k, size)
        powers.append((ar + br + re) ** 2 + (ai - bi + im) ** 2)
    corners = layer.corners()
    values = []
    for b in range(layer.bands):
        low, top, high = corners[b : b + 3]
        energy = 0
        for k in range(m + 1):
            if low - 1e-9 <= k < top - 1e-9:
                energy += powers[k] * math.floor(1024 * max(k - low, 0) / (top - low) + 0.5)
            elif top - 1e-9 <= k < high - 1e-9:
                energy += powers[k] * (1024 - math.floor(1024 * max(k - top, 0) / (high - top) + 0.5))
        values.append(max(0, _logarithm(energy) - (s << 16) - layer.floor) if energy else 0)
    if not layer.coefficients:
        return values
    cosines = tables.cosines(layer.coefficients, layer.bands)
    rows = [[min(math.floor(2**15 * c + 0.5), 32767) for c in row] for row in cosines]
    return [(sum(c * v for c, v in zip(row, values, strict=True)) + (1 << 14)) >> 15 for row in rows]


def _rotated(value: tuple[int, int], k: int, size: int) -> tuple[int, int]:
    """value * exp(-2 pi i k / size)."""
    c, s = (round(2**15 * f(2 * math.pi * k / size)) for f in (math.cos, math.sin))
    c, s = (min(max(v, -32767), 32767) for v in (c, s))
    re, im = value
    return (re * c + im * s + (1 << 14)) >> 15, (im * c - re * s + (1 << 14)) >> 15


def _fft(z: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    if len(z) == 1:
        return z
    even, odd = _fft(z[0::2], size), _fft(z[1::2], size)
    half = len(z) // 2
    turned = [odd[j] if j == 0 else _rotated(odd[j], j * (size // len(z)), size) for j in range(half)]
    pairs = list(zip(even, turned, strict=True))
    return [(a[0] + b[0], a[1] + b[1]) for a, b in pairs] + [(a[0] - b[0], a[1] - b[1]) for a, b in pairs]


def _logarithm(energy: int) -> int:
    highest = energy.bit_length() - 1
    f = (energy << (63 - highest)) >> 47 & 0xFFFF
    place = f >> 10
    low, high = (math.floor(2**15 * math.log2(1 + k / 64) + 0.5) for k in (place, place + 1))
    return 2**15 * highest + low + (((high - low) * (f & 1023) + 512) >> 10)
