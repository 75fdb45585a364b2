"""Results of a compression study: series of pruned networks, their curves, and the prunability of each method.

A series is one method on one reference network in one repetition. Error is that of the integer network on
validation data.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.records import TrialRecord, TrialState
from sparsemod.report.csv_text import csv_text
from sparsemod.units import ERROR, METRICS, quality_among

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = (-0.1, -0.05, -0.02, -0.01, -0.005, -0.0025, 0.0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Differences in error between a pruned network and its reference that a report allows."""

COSTS = ("nonzeros", "macs", "flash", "ram", "instructions")
"""Costs of a network; the first one decides which network is the smallest."""

LOSS = "loss"
"""The loss of the integer network, which the stage `damage` measures."""

REFERENCE, PRUNED = "reference", "study"


@dataclass(frozen=True)
class Series:
    """The completed networks of one method, reference network and repetition, in the order of their sparsity."""

    method: str
    reference: TrialRecord
    repetition: int
    networks: tuple[TrialRecord, ...]

    def within(self, low: float, high: float) -> "Series":
        """Return the series with the networks of which a share of `low` to `high` of the weights stays."""
        near = 1e-9
        kept = tuple(row for row in self.networks if low - near <= 1 - sparsity(row) <= high + near)
        return replace(self, networks=kept)


@dataclass(frozen=True)
class Best:
    """The smallest networks of a method with error <= reference + level: means over the series that have one.

    `series`: how many of all `of` series have one; the other fields are empty when none has. `costs`, `least`
    and `most`: metric -> mean and range. `ratios`: metric -> share of the reference's cost that was removed. `trials`: the
    networks' indices.
    """

    level: float
    method: str
    series: int
    of: int
    error: float | None = None
    difference: float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    trials: tuple[int, ...] = ()


def series_of(rows: Sequence[TrialRecord], name: str = "") -> tuple[Series, ...]:
    """Return the series of a study's trials. `name`: of the experiment, for errors. Raises InvalidInput for an experiment without reference or pruned networks."""
    by_index = {row.index: row for row in rows}
    references = [r for r in rows if r.candidate.round == REFERENCE and r.state is TrialState.COMPLETED]
    if not references:
        raise InvalidInput("experiment", name, "a study with a completed reference network")
    found: dict[tuple[str, int, int], list[TrialRecord]] = {}
    place: dict[int, tuple[str, int, int]] = {}
    count: dict[tuple[str, int, str], int] = {}
    for row in rows:
        parent = by_index.get(-1 if row.candidate.parent is None else row.candidate.parent)
        if row.candidate.round != PRUNED or parent is None:
            continue
        method = str(row.candidate.parameters["pruning_method"])
        if parent.index in place:
            series = place[parent.index]
        else:
            key = (method, parent.index, str(row.candidate.parameters["sparsity"]))
            series = (method, parent.index, count.get(key, 0))
            count[key] = count.get(key, 0) + 1
        place[row.index] = series
        found.setdefault(series, [])
        if row.state is TrialState.COMPLETED:
            found[series].append(row)
    if not found:
        raise InvalidInput("experiment", name, "a study with pruned networks")
    return tuple(
        Series(method, by_index[reference], repetition, tuple(sorted(networks, key=sparsity)))
        for (method, reference, repetition), networks in sorted(found.items(), key=lambda item: item[0][1:])
    )


def sparsity(row: TrialRecord) -> float:
    """Return the share of the weights that a trial of a study removes."""
    return float(row.candidate.parameters["sparsity"])


def prunability(series: Sequence[Series], levels: Iterable[float] = LEVELS) -> tuple[Best, ...]:
    """Return for every level and method the smallest networks whose error is within the level of their reference's.

    The reference itself counts as a network of its series. Ties in size go to the lower error.
    """
    found = []
    for level in levels:
        for method in dict.fromkeys(one.method for one in series):
            mine = [one for one in series if one.method == method]
            best = [(one.reference, row) for one in mine if (row := _smallest(one, level))]
            chosen = [(reference.values(), row.values()) for reference, row in best]
            trials = tuple(dict.fromkeys(row.index for _, row in best))
            found.append(replace(_summary(level, method, chosen, len(mine)), trials=trials))
    return tuple(found)


def _smallest(series: Series, level: float) -> TrialRecord | None:
    metric = quality_among(series.reference.values())
    limit = series.reference.values()[metric] + level + 1e-12
    good = [row for row in (series.reference, *series.networks) if row.values()[metric] <= limit]
    return min(good, key=lambda row: (row.values()[COSTS[0]], row.values()[metric]), default=None)


def _summary(
    level: float, method: str, chosen: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], of: int
) -> Best:
    if not chosen:
        return Best(level, method, 0, of)
    names = [name for name in COSTS if all(name in own and name in best for own, best in chosen)]
    values = {name: [best[name] for _, best in chosen] for name in names}
    metric = quality_among(chosen[0][0])
    return Best(
        level, method, len(chosen), of,
        error=_mean([best[metric] for _, best in chosen]),
        difference=_mean([best[metric] - own[metric] for own, best in chosen]),
        costs={name: _mean(numbers) for name, numbers in values.items()},
        least={name: min(numbers) for name, numbers in values.items()},
        most={name: max(numbers) for name, numbers in values.items()},
        ratios={name: _mean([1 - best[name] / own[name] for own, best in chosen if own[name]]) for name in names},
    )  # fmt: skip


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def prunability_csv(bests: Sequence[Best]) -> str:
    """Return a report as CSV: a line for each level and method; empty cells where no network is good enough."""
    shown = [name for name in COSTS if any(name in best.costs for best in bests)]
    lines: list[list[object]] = [
        [
            *("level", "method", "series", "of", "error", "difference"),
            *(f"{name}{suffix}" for name in shown for suffix in ("", " least", " most", " removed")),
        ]
    ]
    for best in bests:
        cells: list[object] = [
            best.level,
            best.method,
            best.series,
            best.of,
            _cell(best.error),
            _cell(best.difference),
        ]
        for name in shown:
            cells += [_cell(part.get(name)) for part in (best.costs, best.least, best.most, best.ratios)]
        lines.append(cells)
    return csv_text(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def curves(series: Sequence[Series], metrics: Sequence[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Return the raw numbers for `numpy.savez`, by "method/metric".

    Each array has the shape (series, sparsities + 1); the first column is the reference network. Missing values are not a number.
    `method/sparsity` holds the sparsities.
    """
    found: dict[str, NDArray[np.float64]] = {}
    metrics = (quality_of(series), LOSS, *COSTS) if metrics is None else metrics
    for method in dict.fromkeys(one.method for one in series):
        mine = [one for one in series if one.method == method]
        shares = sorted({sparsity(row) for one in mine for row in one.networks})
        found[f"{method}/sparsity"] = np.array([0.0, *shares])
        for metric in metrics:
            table = np.full((len(mine), len(shares) + 1), np.nan)
            for place, one in enumerate(mine):
                table[place, 0] = one.reference.values().get(metric, np.nan)
                for row in one.networks:
                    table[place, 1 + shares.index(sparsity(row))] = row.values().get(metric, np.nan)
            found[f"{method}/{metric}"] = table
    return found


def curves_figure(name: str, series: Sequence[Series]) -> "Figure":
    """Draw the error, and the loss where it was measured, against each cost.

    Lines are means over series, bands their range; the reference is dashed.
    """
    import os

    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    numbers = curves(series)
    methods = list(dict.fromkeys(one.method for one in series))

    def known(metric: str) -> bool:
        return any(not np.isnan(numbers[f"{method}/{metric}"]).all() for method in methods)

    quality = quality_of(series)
    qualities, shown = [q for q in (quality, LOSS) if known(q)], [m for m in COSTS if known(m)]
    size = (4.2 * len(shown) + 1.6, 0.4 + 3.8 * len(qualities))
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    grid = figure.subplots(len(qualities), len(shown), squeeze=False)
    for line, metric in zip(grid, qualities, strict=True):
        percent = 100 if metric in METRICS and METRICS[metric].bounded else 1
        told = [one.reference.values()[metric] for one in series if metric in one.reference.values()]
        for axis, cost in zip(line, shown, strict=True):
            for place, method in enumerate(methods):
                values = percent * numbers[f"{method}/{metric}"]
                _draw(axis, method, numbers[f"{method}/{cost}"], values, place)
            if told:
                axis.axhline(percent * _mean(told), linestyle="--", color="black", linewidth=1)
            _cost_axis(axis, metric_label(cost))
            _quality_axis(axis)
        title = METRICS[metric].title if metric in METRICS else metric
        line[0].set_ylabel(f"{title} of the integer network{', %' if percent == 100 else ''}")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), fontsize=9, loc="outside right upper")
    figure.suptitle(name)
    return figure


_LINES = ("-", "--", ":", "-.")
"""The lines of the first ten methods, of the next ten, and so on, since there are ten colours."""


def _draw(
    axis: "Axes", label: str, costs: NDArray[np.float64], values: NDArray[np.float64], place: int
) -> None:
    """Draw a method: the mean over series as a line, the range as a band. Columns without a value are left out."""
    there = ~np.isnan(values).all(0) & ~np.isnan(costs).all(0)
    costs, values = costs[:, there], values[:, there]
    x, y = np.nanmean(costs, 0), np.nanmean(values, 0)
    style = _LINES[place // 10 % len(_LINES)]
    (line,) = axis.plot(x, y, style, marker="o", markersize=3, label=label, color=f"C{place % 10}")
    order = np.argsort(x)
    low, high = np.nanmin(values, 0)[order], np.nanmax(values, 0)[order]
    axis.fill_between(x[order], low, high, alpha=0.15, color=line.get_color(), linewidth=0)


def _cost_axis(axis: "Axes", label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis.set_xlabel(label)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    few = high < 10 * low  # the ticks of a logarithmic axis would be too many or too few
    axis.xaxis.set_major_locator(MaxNLocator(4) if few else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)


def _quality_axis(axis: "Axes") -> None:
    """Make the axis of the error logarithmic if its values differ by more than a factor of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()])
    if drawn.size and drawn.min() > 0 and drawn.max() > 10 * drawn.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def quality_of(series: Sequence[Series]) -> str:
    """Return the task's metric of the networks."""
    return quality_among(series[0].reference.values()) if series else ERROR


def metric_label(metric: str) -> str:
    """Return a metric's title with its unit."""
    if metric not in METRICS:
        return {"nonzeros": "nonzero weights"}.get(metric, metric)
    unit = METRICS[metric].unit
    return f"{METRICS[metric].title}, {unit}" if unit else METRICS[metric].title


def _short(value: float) -> str:
    """Return a number in thousands (k) or millions (M)."""
    for scale, unit in ((1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g} {unit}"
    return f"{value:g}"


def figure_bytes(figure: "Figure", kind: str) -> bytes:
    """Return a figure as a file's content; `kind` is pdf, png or svg. Equal figures give equal bytes."""
    out = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[kind]
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "sparsemod"}):
        figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()
