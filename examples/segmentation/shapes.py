"""Synthetic images of discs and squares, with a class for each pixel, or for each cell of a coarser grid."""

from pathlib import Path

import numpy as np

from sparsemod.data import Arrays, dataset


@dataset("shapes")
def shapes(root: Path | None, samples: int = 800, size: int = 24, cell: int = 1) -> Arrays:
    """Return grey images (samples, 1, size, size) and the classes background, disc and square of each pixel.

    With `cell`, the class of each cell of cell x cell pixels: the largest class in it, as FOMO locates objects.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    images = rng.normal(0.2, 0.15, (samples, 1, size, size))
    masks = np.zeros((samples, size, size), np.int64)
    for image, mask in zip(images, masks, strict=True):
        for kind in rng.integers(1, 3, rng.integers(1, 4)):
            radius = rng.integers(3, 6)
            row, column = rng.integers(radius, size - radius, 2)
            down, right = np.abs(rows - row), np.abs(columns - column)
            inside = down**2 + right**2 <= radius**2 if kind == 1 else np.maximum(down, right) < radius
            image[0, inside] += rng.uniform(0.4, 0.8)
            mask[inside] = kind
    grid = masks.reshape(samples, size // cell, cell, size // cell, cell).max(axis=(2, 4))
    return Arrays(images, grid, names=("background", "disc", "square"))
