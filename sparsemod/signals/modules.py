"""Torch modules that make features of signals; they have no trained parameters."""

from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.signals import tables
from sparsemod.signals.operators import band_energies, window_statistics


class BandEnergies(nn.Module):
    """Logarithms of the energies in frequency bands, or their cepstrum (MFCC), of each frame of a signal.

    Maps signals (N, C, L) to features (N, C x features, L // hop); see `sparsemod.signals.operators.energies`. `window` and `hop` are
    in samples, `rate` in samples per second, `low` and `high` in Hz (`high`: None is half of the rate). `mel`: bands of equal width in
    mel, not in Hz. `coefficients`: features of a cepstrum, 0 for the bands themselves. `floor`: the energy whose feature is 0.

    Raises InvalidInput.
    """

    def __init__(
        self, window: int, hop: int, rate: float, bands: int = 40, low: float = 20.0, high: float | None = None, mel: bool = True,
        coefficients: int = 0, floor: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__()
        tables.check_frames(window, hop)
        if not floor > 0:
            raise InvalidInput("floor", floor, "a positive energy")
        self.window, self.hop, self.rate, self.bands = window, hop, float(rate), bands
        self.low, self.high, self.mel = float(low), float(rate / 2 if high is None else high), mel
        self.coefficients, self.floor = coefficients, float(floor)
        tables.edges(tables.fft_size(window), self.rate, bands, self.low, self.high, mel)
        if coefficients:
            tables.cosines(coefficients, bands)

    @property
    def features(self) -> int:
        """Features of a frame, of each channel."""
        return self.coefficients or self.bands

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return band_energies(
            x, self.window, self.hop, self.rate, self.bands, self.low, self.high, self.mel, self.coefficients, self.floor
        )  # fmt: skip


class WindowStatistics(nn.Module):
    """Mean, standard deviation, smallest and largest value, and crossings of the mean of each frame of a signal.

    Maps signals (N, C, L) to features (N, C x 5, L // hop); see `sparsemod.signals.operators.statistics`. Raises InvalidInput.
    """

    features = len(tables.STATISTICS)

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        tables.check_frames(window, hop)
        self.window, self.hop = window, hop

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return window_statistics(x, self.window, self.hop)
