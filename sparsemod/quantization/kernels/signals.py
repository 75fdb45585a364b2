"""Features of the frames of a signal in integer arithmetic; `sparsemod.quantization.layers.signals` defines them."""

from typing import Any

import numpy as np

from sparsemod.quantization.arithmetic import Int8, Int64
from sparsemod.quantization.kernels.base import KERNELS
from sparsemod.quantization.layers.signals import BandEnergies, Framed, WindowStatistics
from sparsemod.signals import tables


def framed(layer: Framed, x: Any) -> Int64:
    """Return the frames (window, C, F, N) of int16 samples (C, L, N)."""
    padded = np.concatenate([np.zeros((x.shape[0], layer.window_size, x.shape[2]), np.int16), x], axis=1)
    count = x.shape[1] // layer.hop
    places = (np.arange(count) + 1)[None] * layer.hop + np.arange(layer.window_size)[:, None]
    return np.moveaxis(padded[:, places], 1, 0).astype(np.int64)


def finished(layer: Framed, values: Int64, zero_out: int) -> Int8:
    """Return the output (C x features, F, N) of values (features, C, F, N)."""
    flat = np.moveaxis(values, 0, 1).reshape(-1, *values.shape[2:])
    multiplier, shift, offset = (
        array.astype(np.int64)[:, None, None] for array in (layer.multiplier, layer.shift, layer.offset)
    )
    made = zero_out + ((((flat * multiplier) >> shift) + offset + 128) >> 8)
    return np.asarray(np.clip(made, -128, 127), np.int8)


def spectrum(layer: BandEnergies, x: Int64) -> tuple[Int64, Int64]:
    """Return the energies (bins, ...) and the shift of each block (...) of frames (window, ...)."""
    size, half = layer.size, layer.size // 2
    bits = np.frexp(np.abs(x).max(axis=0).astype(np.float64))[1].astype(np.int64)
    scaled = np.maximum(0, 15 - bits)
    hann = tables.fixed(tables.hann(layer.window_size), 15).reshape(-1, *[1] * (x.ndim - 1))
    y = np.zeros((size, *x.shape[1:]), np.int64)
    y[: len(x)] = ((x << scaled) * hann + (1 << 14)) >> 15
    order = [int(f"{k:0{half.bit_length() - 1}b}"[::-1], 2) for k in range(half)]
    real, imaginary = y[0::2][order], y[1::2][order]
    cosine, sine = _twiddles(size)
    each = 1
    while each < half:
        for j in range(each):
            a, b = np.arange(j, half, 2 * each), np.arange(j + each, half, 2 * each)
            br, bi = real[b], imaginary[b]
            if j:
                cos, sin = cosine[j * (half // each)], sine[j * (half // each)]
                br, bi = (br * cos + bi * sin + (1 << 14)) >> 15, (bi * cos - br * sin + (1 << 14)) >> 15
            real[a], real[b] = real[a] + br, real[a] - br
            imaginary[a], imaginary[b] = imaginary[a] + bi, imaginary[a] - bi
        each *= 2
    k = np.arange(half + 1)
    ar, ai, br, bi = (
        real[k % half],
        imaginary[k % half],
        real[(half - k) % half],
        imaginary[(half - k) % half],
    )
    axes = (-1, *[1] * (x.ndim - 1))
    c: Int64 = cosine.reshape(axes)
    s: Int64 = sine.reshape(axes)
    odd_real: Int64 = ai + bi
    odd_imaginary: Int64 = br - ar
    twice_real = ar + br + ((odd_real * c + odd_imaginary * s + (1 << 14)) >> 15)
    twice_imaginary = ai - bi + ((odd_imaginary * c - odd_real * s + (1 << 14)) >> 15)
    return twice_real**2 + twice_imaginary**2, scaled


def _twiddles(size: int) -> tuple[Int64, Int64]:
    """Return cos and sin of 2 pi k / size for k = 0 ... size / 2, Q15."""
    quarter = tables.sines(size)
    return np.concatenate([quarter[::-1], -quarter[1:]]), np.concatenate([quarter, quarter[-2::-1]])


def logarithm(energy: Int64) -> Int64:
    """Return log2 of positive numbers below 2^63 in Q15, as the layer defines it."""
    highest = np.zeros_like(energy)
    for step in (32, 16, 8, 4, 2, 1):
        highest += np.where(energy >> np.minimum(highest + step, 62) > 0, step, 0)
    aligned = energy.astype(np.uint64) << (63 - highest).astype(np.uint64)
    fraction = ((aligned >> np.uint64(47)) & np.uint64(0xFFFF)).astype(np.int64)
    table = tables.logarithms()
    place = fraction >> 10
    low, high = table[place], table[place + 1]
    return np.asarray((highest << 15) + low + (((high - low) * (fraction & 1023) + 512) >> 10))


@KERNELS.register("band_energies")
def _band_energies(layer: BandEnergies, inputs: list[Any], points: list[int], zero_out: int) -> Int8:
    powers, scaled = spectrum(layer, framed(layer, inputs[0]))
    starts, rises = tables.steps(layer.size, layer.corners())
    rising = tables.fixed(rises, tables.WEIGHT_BITS)
    values = []
    for band in range(layer.bands):
        up, down = slice(starts[band], starts[band + 1]), slice(starts[band + 1], starts[band + 2])
        weights = np.concatenate(
            [rising[up.start - starts[0] : up.stop - starts[0]], (1 << tables.WEIGHT_BITS) - rising[down.start - starts[0] : down.stop - starts[0]]]
        )  # fmt: skip
        energy = np.tensordot(weights, powers[up.start : down.stop], 1)
        value = logarithm(np.maximum(energy, 1)) - (scaled << 16) - layer.floor
        values.append(np.where(energy > 0, np.maximum(value, 0), 0))
    made = np.stack(values)
    if layer.coefficients:
        cosines = tables.fixed(tables.cosines(layer.coefficients, layer.bands), 15)
        made = (np.tensordot(cosines, made, 1) + (1 << 14)) >> 15
    return finished(layer, made, zero_out)


@KERNELS.register("window_statistics")
def _statistics(layer: WindowStatistics, inputs: list[Any], points: list[int], zero_out: int) -> Int8:
    x, n = framed(layer, inputs[0]), layer.window_size
    total = x.sum(0)
    square = n * (x**2).sum(0) - total**2
    root = np.floor(np.sqrt(square.astype(np.float64))).astype(np.int64)  # exact below 2^52
    above = n * x > total
    crossings = (above[1:] != above[:-1]).sum(0)
    return finished(layer, np.stack([total, root, n * x.min(0), n * x.max(0), crossings << 15]), zero_out)
