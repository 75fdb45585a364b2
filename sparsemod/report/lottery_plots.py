"""Plots of lottery experiments on matplotlib axes: averages over nets with their range, one colour for each level.

Histories are mappings as in an experiment's npz files. Solid lines are tickets, dotted lines of the same colour random
reinitializations, the dashed line is the baseline (no pruning). Several experiments may be drawn on one pair of axes: set
`finish` for the last one, which then gets labels, legend and grid.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import UnknownName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Histories = Mapping[str, NDArray[Any]]

TITLES = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_acc": "validation accuracy, %",
    "test_acc": "test accuracy, %",
}
"""The histories that can be plotted, with the titles of their axes."""


def load_histories(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a `-histories.npz` or `-random-histories.npz` file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def values(histories: Histories, kind: str) -> NDArray[np.float64]:
    """Return a history as plotted: accuracies in percent. Raises UnknownName."""
    if kind not in TITLES:
        raise UnknownName("kind", kind, list(TITLES))
    return np.asarray(histories[kind], dtype=np.float64) * (100 if kind.endswith("acc") else 1)


def early_stop_points(histories: Histories, criterion: str = "val_loss") -> NDArray[np.intp]:
    """Return the point of the first smallest loss: (nets, levels)."""
    return np.asarray(np.argmin(values(histories, criterion), axis=2), dtype=np.intp)


def plot_averages(
    axes: "Axes", histories: Histories, kind: str, random: Histories | None = None, *, finish: bool = True
) -> None:
    """Plot the mean of a history over nets for each level, against iterations; bands are the range over nets."""
    told = values(histories, kind)
    step = int(histories["plot_step"])
    x = step * np.arange(1, told.shape[2] + 1)
    colours = _colours(len(histories["sparsity"]))
    for level, share in enumerate(histories["sparsity"]):
        baseline = level == 0 and share == 1
        _line(axes, x, told[:, level], colours[level], "--" if baseline else "-", f"{100 * share:.1f} %")
        if random is None:
            continue
        (places,) = np.nonzero(np.isclose(random["sparsity"], share))
        for place in places:
            own = values(random, kind)[:, place]
            _line(axes, x, own, colours[level], ":", f"{100 * share:.1f} % random")
    if finish:
        axes.set_xlabel("iteration")
        _finish(axes, TITLES[kind], "weights that stay")


def plot_accuracy_at_early_stop(
    axes: "Axes", histories: Histories, kind: str = "test_acc", random: Histories | None = None, *,
    criterion: str = "val_loss", label: str = "tickets", colour: str = "C0", finish: bool = True,
) -> None:  # fmt: skip
    """Plot a history at the early-stop iteration against the share of weights that stays (log2, inverted)."""

    def at(found: Histories) -> NDArray[np.float64]:
        points = early_stop_points(found, criterion)
        return np.take_along_axis(values(found, kind), points[:, :, None], axis=2)[:, :, 0]

    _against_weights(axes, histories, random, at, label, colour)
    if finish:
        _weights_axis(
            axes, f"{TITLES[kind].removesuffix(', %')} at early stop{', %' if kind.endswith('acc') else ''}"
        )


def plot_early_stop_iterations(
    axes: "Axes", histories: Histories, random: Histories | None = None, *, criterion: str = "val_loss",
    label: str = "tickets", colour: str = "C0", finish: bool = True,
) -> None:  # fmt: skip
    """Plot the early-stop iteration against the share of weights that stays (log2, inverted)."""

    def at(found: Histories) -> NDArray[np.float64]:
        iterations = int(found["plot_step"]) * (early_stop_points(found, criterion) + 1)
        return np.asarray(iterations, dtype=np.float64)

    _against_weights(axes, histories, random, at, label, colour)
    if finish:
        _weights_axis(axes, "iteration of early stop")


def lottery_figure(name: str, histories: Histories, random: Histories | None = None) -> "Figure":
    """Return the averages of all histories, and accuracy and iterations at early stop."""
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.5), layout="constrained", dpi=110)
    axes = figure.subplots(2, 3)
    for axis, kind in zip(axes.flat, TITLES, strict=False):
        plot_averages(axis, histories, kind, random)
    plot_accuracy_at_early_stop(axes[1, 1], histories, "test_acc", random)
    plot_early_stop_iterations(axes[1, 2], histories, random)
    figure.suptitle(name)
    return figure


def _against_weights(
    axes: "Axes", histories: Histories, random: Histories | None, at: Any, label: str, colour: str
) -> None:
    shares, told = 100 * histories["sparsity"], at(histories)
    _line(axes, shares, told, colour, "-", label, marker="o")
    if histories["sparsity"][0] == 1:
        axes.axhline(told[:, 0].mean(), color=colour, linestyle="--", linewidth=1, label=f"{label}: baseline")
    if random is not None:
        _line(axes, 100 * random["sparsity"], at(random), colour, ":", f"{label}: random", marker="o")


def _colours(count: int) -> list[str]:
    """Return a colour for each level; the usual ones repeat after ten."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if count <= 10:
        return [f"C{level}" for level in range(count)]
    return [to_hex(colormaps["turbo"](level / (count - 1))) for level in range(count)]


def _line(
    axes: "Axes", x: Any, rows: Any, colour: str, style: Literal["-", "--", ":"], label: str, marker: str = ""
) -> None:
    axes.plot(x, rows.mean(0), color=colour, linestyle=style, label=label, marker=marker, markersize=3)
    if len(rows) > 1:
        axes.fill_between(x, rows.min(0), rows.max(0), color=colour, alpha=0.15, linewidth=0)


def _weights_axis(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log", base=2)
    marked = [np.asarray(line.get_xdata()) for line in axes.get_lines() if line.get_marker() == "o"]
    shown = sorted({round(float(x), 2) for places in marked for x in places})
    axes.set_xticks(shown)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if not axes.xaxis_inverted():
        axes.invert_xaxis()
    axes.set_xlabel("weights that stay, %")
    _finish(axes, title, None)


def _finish(axes: "Axes", title: str, legend: str | None) -> None:
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, title=legend, title_fontsize=7)
