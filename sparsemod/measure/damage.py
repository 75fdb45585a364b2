"""What pruning damages beyond the error: single classes, calibration, and corrupted inputs.

Equal errors can hide a class that the network no longer knows, or a network that fails on noisy data. Source: Hooker et
al., "What do compressed deep neural networks forget?", 2019.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.records import Measurement

Floats = NDArray[np.floating[Any]]

BINS = 15
"""Bins of confidence for the calibration error."""

SEED = 20
"""Seed of the noise; equal for all networks."""


def class_damage(logits: Floats, y: NDArray[Any], title: str = "integer network") -> list[Measurement]:
    """Return the error of the worst class and the calibration error.

    `logits` (N, classes), `y` (N,) classes. `title`: the kind of network.
    """
    wrong = logits.argmax(1) != y
    classes = {int(label): float(wrong[y == label].mean()) for label in np.unique(y)}
    worst = max(classes, key=lambda label: classes[label])
    calibration = f"expected calibration error, {BINS} bins, {title} on {len(y)} samples"
    return [
        Measurement(
            metric="worst_class_error", value=classes[worst], unit="fraction",
            method=f"error of class {worst}, {title} on {len(y)} samples", target="host", split="validation",
            detail={"classes": classes},
        ),
        Measurement(
            metric="calibration_error", value=calibration_error(logits, y), unit="fraction", method=calibration,
            target="host", split="validation",
        ),
    ]  # fmt: skip


def calibration_error(logits: Floats, y: NDArray[Any], bins: int = BINS) -> float:
    """Return the expected calibration error: the mean difference between confidence and accuracy over bins of confidence.

    Each bin counts by its number of samples. Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(1, keepdims=True)
    shares = np.exp(shifted)
    shares /= shares.sum(1, keepdims=True)
    confidence, right = shares.max(1), shares.argmax(1) == y
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        here = place == number
        if here.any():
            total += here.sum() * abs(float(confidence[here].mean()) - float(right[here].mean()))
    return total / len(y)


def corruptions(x: Floats) -> dict[str, tuple[Floats, str]]:
    """Return corrupted copies of the samples with a description, by name: noise, and for images blur and contrast."""
    deviation = 0.5 * float(x.std())
    noise = np.random.default_rng(SEED).normal(0.0, deviation, size=x.shape)
    found: dict[str, tuple[Floats, str]] = {
        "noise": ((x + noise).astype(x.dtype), "noise of half the data's standard deviation")
    }
    if x.ndim == 4:
        found["blur"] = (blurred(x), "a mean over 3 x 3 pixels")
        middle = x.mean((2, 3), keepdims=True)
        found["contrast"] = ((middle + 0.4 * (x - middle)).astype(x.dtype), "40 % of the contrast")
    return found


def blurred(x: Floats) -> Floats:
    """Return images (N, C, H, W), each pixel the mean of 3 x 3; the border is repeated."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    parts: Sequence[Floats] = [
        padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return (sum(parts) / len(parts)).astype(x.dtype)  # type: ignore[union-attr]
