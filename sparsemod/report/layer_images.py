"""Layers as images: weight matrices and kernels with masked weights marked, a colour bar and a histogram for each layer."""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_IMAGES = 512
"""Largest number of kernels in a figure."""

Weights = Mapping[str, NDArray[Any]]


def plot_fc(weights: Weights) -> dict[str, "Figure"]:
    """Return a figure for each matrix (outputs, inputs) in `weights`, by name. Weights of zero are black dots."""
    return {name: _matrix(name, weight) for name, weight in weights.items() if weight.ndim == 2}


def plot_conv(weights: Weights, most: int = MOST_IMAGES) -> dict[str, "Figure"]:
    """Return a figure for each kernel (outputs, inputs, height, width) in `weights`, by name.

    Layers with three inputs are shown as colour images, others as one image for each pair of channels: a row for each
    output. At most `most` images are drawn; the title says how many there are. Raises InvalidInput for `most` below 1.
    """
    if most < 1:
        raise InvalidInput("most", most, "at least 1")
    return {name: _kernels(name, weight, most) for name, weight in weights.items() if weight.ndim == 4}


def _figure(width: float, height: float, title: str) -> "Figure":
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=10)
    return figure


def _matrix(name: str, weight: NDArray[Any]) -> "Figure":
    rows, columns = weight.shape
    figure = _figure(
        9, min(9.0, max(2.8, 6 * rows / columns + 1.2)), f"{name}: {rows} x {columns}{_masked(weight)}"
    )
    image, density = figure.subplots(1, 2, width_ratios=[4, 1])
    limit = float(np.abs(weight).max()) or 1.0
    shown = image.imshow(weight, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    at_row, at_column = np.nonzero(weight == 0)
    size = max(0.02, min(20.0, (300 / max(rows, columns)) ** 2 / 4))
    image.scatter(at_column, at_row, s=size, color="black", marker=".", linewidths=0, rasterized=True)
    image.set_xlabel("input")
    image.set_ylabel("output")
    figure.colorbar(shown, ax=image)
    _histogram(density, weight)
    return figure


def _kernels(name: str, weight: NDArray[Any], most: int) -> "Figure":
    outputs, inputs, height, width = weight.shape
    coloured = inputs == 3
    images = outputs if coloured else outputs * inputs
    count = min(images, most)
    across = min(count, 16 if coloured else inputs)
    down = math.ceil(count / across)
    limit = float(np.abs(weight).max()) or 1.0
    gap = 1
    canvas = np.full((down * (height + gap) + gap, across * (width + gap) + gap, 3), 1.0)
    dots: list[tuple[int, int]] = []
    for place in range(count):
        top = gap + (place // across) * (height + gap)
        left = gap + (place % across) * (width + gap)
        if coloured:
            kernel = weight[place].transpose(1, 2, 0)
            canvas[top : top + height, left : left + width] = (kernel / limit + 1) / 2
            zeros = np.nonzero((kernel == 0).all(-1))
        else:
            kernel = weight[place // inputs, place % inputs]
            canvas[top : top + height, left : left + width] = _red_blue(kernel / limit)
            zeros = np.nonzero(kernel == 0)
        dots += [(left + x, top + y) for y, x in zip(*zeros, strict=True)]
    more = "" if count == images else f", the first {count} of {images} images"
    title = f"{name}: {outputs} x {inputs} kernels of {height} x {width}{more}{_masked(weight)}"
    figure = _figure(10, min(14.0, max(2.8, 7.5 * canvas.shape[0] / canvas.shape[1] + 1)), title)
    image, density = figure.subplots(1, 2, width_ratios=[4, 1])
    image.imshow(canvas, interpolation="nearest")
    if dots:
        size = max(0.1, (250 / max(canvas.shape[:2])) ** 2)
        image.scatter(
            *zip(*dots, strict=True), s=size, color="black", marker=".", linewidths=0, rasterized=True
        )
    image.set_axis_off()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-limit, limit), "gray" if coloured else "RdBu")
    figure.colorbar(scale, ax=image)
    _histogram(density, weight)
    return figure


def _red_blue(share: NDArray[Any]) -> NDArray[Any]:
    from matplotlib import colormaps

    return np.asarray(colormaps["RdBu"]((share + 1) / 2))[..., :3]


def _masked(weight: NDArray[Any]) -> str:
    zeros = int((weight == 0).sum())
    return f", {100 * zeros / weight.size:.1f} % masked" if zeros else ""


def _histogram(axes: Any, weight: NDArray[Any]) -> None:
    kept = weight[weight != 0]
    axes.hist(
        kept if kept.size else weight.reshape(-1),
        bins=50,
        density=True,
        orientation="horizontal",
        color="0.4",
    )
    axes.set_xlabel("density")
    axes.set_title("weights that stay", fontsize=8)
