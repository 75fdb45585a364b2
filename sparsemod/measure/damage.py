"""What pruning damages beyond the error: single classes, calibration, and corrupted inputs.

Equal errors can hide a class that the network no longer knows, or a network that fails on noisy data. Source: Hooker et
al., "What do compressed deep neural networks forget?", 2019.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.records import Measurement

Floats = NDArray[np.floating[Any]]

BINS = 15
"""Bins of confidence for the calibration error."""

SEED = 20
"""Seed of the noise; equal for all networks."""


def damage(logits: Callable[[Floats], Floats], x: Floats, y: NDArray[Any]) -> list[Measurement]:
    """Return the error of the worst class, the calibration error, and errors on corrupted inputs.

    `logits` runs the network on samples (N, *shape) and returns (N, classes). Blur and contrast are measured for images
    (C, H, W) only.
    """
    clean = logits(x)
    wrong = clean.argmax(1) != y
    classes = {int(label): float(wrong[y == label].mean()) for label in np.unique(y)}
    worst = max(classes, key=lambda label: classes[label])
    found = [
        _measured("worst_class_error", classes[worst], f"error of class {worst}", len(y), classes=classes),
        _measured(
            "calibration_error",
            calibration_error(clean, y),
            f"expected calibration error, {BINS} bins",
            len(y),
        ),
    ]
    for name, (corrupted, words) in corruptions(x).items():
        error = float((logits(corrupted).argmax(1) != y).mean())
        found.append(_measured(f"{name}_error", error, f"error with {words}", len(y)))
    return found


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


def _measured(metric: str, value: float, method: str, samples: int, **detail: Any) -> Measurement:
    return Measurement(
        metric=metric, value=value, unit="fraction", method=f"{method}, integer network on {samples} samples", target="host",
        split="validation", detail=detail,
    )  # fmt: skip
