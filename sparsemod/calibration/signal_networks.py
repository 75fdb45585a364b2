"""Random networks on features of signals for calibration."""

import numpy as np
from torch import Tensor, nn

from sparsemod.signals.modules import BandEnergies, WindowStatistics


class Signal(nn.Module):
    """Features of a signal, normalized, two convolutions over time and their mean."""

    def __init__(self, features: nn.Module, count: int, filters: int, classes: int) -> None:
        super().__init__()
        self.features, self.norm = features, nn.BatchNorm1d(count, affine=False)
        self.layers = nn.Sequential(
            nn.Conv1d(count, filters, 3, padding=1), nn.ReLU(), nn.Conv1d(filters, filters, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(filters, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        scores: Tensor = self.layers(self.norm(self.features(x)))
        return scores


def signal_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return (module, input shape): energies of bands, a cepstrum or statistics of windows, and a small network on them."""
    window, frames = int(rng.integers(20, 700)), int(rng.integers(4, 12))
    hop, channels = int(rng.integers(window // 3, window)), int(rng.integers(1, 4))
    if rng.random() < 0.3:
        features: nn.Module = WindowStatistics(window, hop)
        count = WindowStatistics.features
    else:
        bands = int(rng.integers(2, 1 + min(12 if window < 100 else 40, window // 3)))
        coefficients = int(rng.integers(1, bands + 1)) if rng.random() < 0.5 else 0
        features = BandEnergies(
            window, hop, 16000, bands, high=float(rng.uniform(6000, 8000)), mel=bool(rng.random() < 0.7), coefficients=coefficients
        )  # fmt: skip
        count = coefficients or bands
    network = Signal(features, channels * count, int(rng.integers(6, 32)), int(rng.integers(2, 20)))
    return network, (channels, frames * hop + int(rng.integers(hop)))
