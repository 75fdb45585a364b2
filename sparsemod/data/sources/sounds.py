"""Made sounds: tones, chirps and a warble in noise."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.source import dataset
from sparsemod.errors import InvalidInput

RATE, SAMPLES = 8000, 4000
NAMES = ("noise", "low tone", "high tone", "rising", "falling", "warble")


@dataset("sounds", shape=(1, SAMPLES), classes=len(NAMES))
def sounds(root: Path | None, per_class: int = 100) -> Arrays:
    """Made sounds of half a second at 8,000 samples per second in six classes: noise, a low and a high tone, chirps, and a warble.

    Every sound has its own pitch, loudness and time in the noise. Returns (6 x `per_class`, 1, 4000) float32 samples in [-1, 1] without
    an official test set; equal calls return equal sounds. Ignores `root`. Raises InvalidInput.
    """
    if isinstance(per_class, bool) or not isinstance(per_class, int) or not 2 <= per_class <= 10000:
        raise InvalidInput("dataset.options.per_class", per_class, "a whole number from 2 to 10000")
    rng = np.random.default_rng(8000)
    x = np.stack([_sound(rng, label) for _ in range(per_class) for label in range(len(NAMES))])
    y = np.tile(np.arange(len(NAMES)), per_class)
    return Arrays(x[:, None], y, classes=len(NAMES), names=NAMES, layout="channels-length")


def _sound(rng: np.random.Generator, label: int) -> NDArray[np.float32]:
    t = np.arange(SAMPLES) / RATE
    noise = rng.normal(0, 10 ** rng.uniform(-3, -1.7), SAMPLES)
    length = rng.uniform(0.25, 0.4)
    begin = rng.uniform(0, 0.5 - length)
    low, high = rng.uniform(200, 600), rng.uniform(1200, 3000)
    part = np.clip((t - begin) / length, 0, 1)
    frequency = (
        np.zeros(SAMPLES),
        np.full(SAMPLES, low),
        np.full(SAMPLES, high),
        low + (high - low) * part,
        high - (high - low) * part,
        (low + high) / 2 + (high - low) / 4 * np.sin(2 * np.pi * rng.uniform(8, 14) * t),
    )[label]
    envelope = np.sin(np.pi * part) * (label > 0) * 10 ** rng.uniform(-1.5, -0.3)
    sound = envelope * np.sin(2 * np.pi * np.cumsum(frequency) / RATE) + noise
    return np.clip(sound, -1, 1).astype(np.float32)
