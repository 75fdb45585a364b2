"""Made motion of a hand-held accelerometer."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.source import dataset
from sparsemod.errors import InvalidInput

RATE, SAMPLES = 100, 256
NAMES = ("rest", "shake", "circle", "up and down", "tap")


@dataset("gestures", shape=(SAMPLES, 3), classes=len(NAMES), layout="time-features")
def gestures(root: Path | None, per_class: int = 100) -> Arrays:
    """Made acceleration in g along three axes, 2.56 seconds at 100 samples per second, of five gestures in any orientation of the hand.

    Returns (5 x `per_class`, 256, 3) float32 samples without an official test set; equal calls return equal motion. Ignores `root`.
    Raises InvalidInput.
    """
    if isinstance(per_class, bool) or not isinstance(per_class, int) or not 2 <= per_class <= 10000:
        raise InvalidInput("dataset.options.per_class", per_class, "a whole number from 2 to 10000")
    rng = np.random.default_rng(100)
    x = np.stack([_motion(rng, label) for _ in range(per_class) for label in range(len(NAMES))])
    y = np.tile(np.arange(len(NAMES)), per_class)
    return Arrays(x, y, classes=len(NAMES), names=NAMES, layout="time-features")


def _motion(rng: np.random.Generator, label: int) -> NDArray[np.float32]:
    t, phase = np.arange(SAMPLES) / RATE, rng.uniform(0, 2 * np.pi)
    slow, fast = 2 * np.pi * rng.uniform(0.8, 1.6), 2 * np.pi * rng.uniform(4, 7)
    size = rng.uniform(0.4, 1.2)
    zero = np.zeros(SAMPLES)
    tap = np.exp(-((t - rng.uniform(0.6, 2)) ** 2) / 0.0008) * rng.uniform(1.5, 3)
    axes = (
        (zero, zero, zero),
        (size * np.sin(fast * t + phase), zero, zero),
        (size * np.sin(slow * t + phase), size * np.cos(slow * t + phase), zero),
        (zero, zero, size * np.sin(slow * t + phase)),
        (zero, zero, tap),
    )[label]
    turned, _ = np.linalg.qr(np.eye(3) + rng.normal(0, 0.25, (3, 3)))
    turned = turned * np.sign(np.diag(turned))
    motion = (np.stack(axes, 1) + np.array([0, 0, 1.0])) @ turned.T
    return np.asarray(motion + rng.normal(0, rng.uniform(0.01, 0.06), motion.shape), np.float32)
