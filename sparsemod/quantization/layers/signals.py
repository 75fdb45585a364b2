"""Features of the frames of a signal, in whole numbers. The input is int16 with zero point 0, (C, L); the output int8, (C x features, F).

Frame f of channel c holds x[n] = q[c, (f + 1) hop - window + n] for n = 0 ... window - 1, with zeros before the first sample; there are
F = L // hop frames. Each layer computes a whole number v[j] for feature j, and the output

    y[j] = clamp(zo + ((((v[j] multiplier[j]) >> shift[j]) + offset[j] + 128) >> 8))

`band_energies`, with N = `fft_size`(window), M = N / 2 and the tables of `sparsemod.signals.tables`:

1. Scaling of the block: m = max |x|; s = max(0, 15 - bits of m); x = x 2^s.
2. Window: y[n] = (x[n] h[n] + 2^14) >> 15 with h the Hann window in Q15, and zeros up to N samples.
3. FFT of the M complex numbers z[k] = y[2k] + i y[2k + 1], decimation in time. A butterfly of a and b with w = cos - i sin in Q15 makes
   a + t and a - t, where t = b w, each part (sum of two products + 2^14) >> 15; t = b where w = 1.
4. Bins k = 0 ... M: with a = z[k mod M], b = z[(M - k) mod M], e = a + conj(b), o = (a - conj(b)) / i, w = exp(-2 pi i k / N) in Q15:
   twice the spectrum is e + ((o w + 2^14) >> 15), and P[k] the sum of the squares of its parts.
5. Bands: E[b] = sum of P[k] W[b, k], with the weights W in Q10.
6. Logarithm: l = log2(E) in Q15, from the highest bit e of E and the 16 bits f behind it:
   l = 2^15 e + T[f >> 10] + (((T[(f >> 10) + 1] - T[f >> 10]) (f & 1023) + 512) >> 10);
   v[b] = max(0, l - 2^16 s - floor), and 0 for E = 0.
7. Cepstrum, with `coefficients`: v[j] = (sum_b D[j, b] v[b] + 2^14) >> 15 with the DCT D in Q15.

`window_statistics`, with n = window, S = sum x: v = S, floor(sqrt(n sum x^2 - S^2)), n min x, n max x, and 2^15 times the number of t > 0
for which (n x[t] > S) differs from (n x[t - 1] > S).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape
from sparsemod.quantization.arithmetic import Int32
from sparsemod.quantization.layers.base import LAYERS, Layer
from sparsemod.signals import tables


@dataclass(frozen=True, eq=False)
class Framed(Layer):
    """Base of the layers of frames; see the module. `multiplier`, `shift` and `offset` have an element for each output feature."""

    window_size: int = 32
    hop: int = 32
    multiplier: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    shift: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    offset: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self) -> None:
        try:
            tables.check_frames(self.window_size, self.hop)
            self.check()
        except InvalidInput as error:
            raise self.reject(error.field, error.value, error.allowed) from None
        for name in ("multiplier", "shift", "offset"):
            array = getattr(self, name)
            if array.dtype != np.int32 or array.ndim != 1 or len(array) != len(self.multiplier):
                raise self.reject(name, (str(array.dtype), array.shape), "int32, one for each feature")
        if not len(self.multiplier) or len(self.multiplier) % self.features:
            raise self.reject("multiplier", len(self.multiplier), f"a multiple of {self.features} features")
        if np.any((self.shift < 1) | (self.shift > 55)) or np.any(
            np.abs(self.multiplier.astype(np.int64)) > 2**23
        ):
            raise self.reject("multiplier, shift", (self.multiplier, self.shift), "at most 2^23; 1 to 55")
        if np.any(np.abs(self.offset.astype(np.int64)) > 2**30):
            raise self.reject("offset", self.offset, "at most 2^30")

    def check(self) -> None:
        """Raise InvalidInput for fields that do not fit."""

    @property
    def features(self) -> int:
        """Features of a frame of one channel."""
        raise NotImplementedError

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        return {"window": self.window_size, "hop": self.hop}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """See Layer."""
        channels, samples = self.one_input(inputs, 2)
        if samples < self.hop or channels * self.features != len(self.multiplier):
            wanted = f"{len(self.multiplier) // self.features} channels of at least {self.hop} samples"
            raise self.reject("inputs", inputs, wanted)
        return (channels * self.features, samples // self.hop)

    def buffer(self, output: Shape) -> int:
        """See Layer."""
        return output[0] // self.features * output[1] * tables.fft_size(self.window_size)


@LAYERS.register("band_energies")
@dataclass(frozen=True, eq=False)
class BandEnergies(Framed):
    """Logarithms of energies in bands, or with `coefficients` their cepstrum; see the module. `floor` in Q15."""

    kind: ClassVar[str] = "band_energies"
    rate: float = 16000.0
    bands: int = 1
    low_hz: float = 0.0
    high_hz: float = 8000.0
    mel: bool = True
    coefficients: int = 0
    floor: int = 0

    def check(self) -> None:
        """See Framed."""
        tables.edges(self.size, self.rate, self.bands, self.low_hz, self.high_hz, self.mel)
        if self.coefficients:
            tables.cosines(self.coefficients, self.bands)
        if abs(self.floor) >= 2**24:
            raise InvalidInput("floor", self.floor, "below 2^24 in absolute value")

    @property
    def size(self) -> int:
        """Samples of the FFT."""
        return tables.fft_size(self.window_size)

    @property
    def features(self) -> int:
        """See Framed."""
        return self.coefficients or self.bands

    @property
    def attributes(self) -> Mapping[str, Any]:
        """See Layer."""
        spectrum = {"rate": self.rate, "low": self.low_hz, "high": self.high_hz, "mel": self.mel}
        return {**super().attributes, **spectrum, "bands": self.bands, "coefficients": self.coefficients}

    def corners(self) -> tables.Float64:
        """Return the corners of the bands, in bins."""
        return tables.edges(self.size, self.rate, self.bands, self.low_hz, self.high_hz, self.mel)


@LAYERS.register("window_statistics")
@dataclass(frozen=True, eq=False)
class WindowStatistics(Framed):
    """Mean, standard deviation, smallest and largest value, and crossings of the mean; see the module."""

    kind: ClassVar[str] = "window_statistics"

    @property
    def features(self) -> int:
        """See Framed."""
        return len(tables.STATISTICS)
