"""The Pareto plot: the first objective against each other one, with front, budgets and trials over budget."""

import io
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsemod.objectives import Objectives, nondominated
from sparsemod.records import TrialRecord, TrialState
from sparsemod.report.pareto import front
from sparsemod.units import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#8da0cb", "#fc8d62", "#1b9e77", "#666666", "#e78ac3", "#a6761d")
"""Colours of the rounds, in order."""


def pareto_figure(
    name: str,
    objectives: Objectives,
    rows: Sequence[TrialRecord],
    kind: str,
    rounds: Mapping[str, str] | None = None,
) -> bytes:
    """Return the plot as a file's content; `kind` is png or svg.

    With one objective, the plot shows its best value over the trials. `rounds`: label -> title, in order;
    labels missing in it are their own titles.
    """
    figure = draw(name, objectives, rows, rounds)
    out = io.BytesIO()
    # Omit the date, so that equal results give equal bytes.
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def draw(
    name: str, objectives: Objectives, rows: Sequence[TrialRecord], rounds: Mapping[str, str] | None = None
) -> "Figure":
    """Draw the plot without writing a file."""
    parts = _parts(rows, rounds)
    # Use Figure instead of pyplot: it has no global state, so any thread may draw, and it ignores
    # matplotlibrc.
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    other_names = objectives.names[1:]
    panels = max(1, len(other_names))
    figure = Figure(figsize=(4.6 * panels, 4.2), layout="constrained", dpi=130)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if not other_names:
        _progress(axes[0], objectives, rows, parts)
    for axis, other in zip(axes, other_names, strict=False):
        _scatter(axis, objectives, rows, other, objectives.names[0], parts)
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    # A single panel is too narrow for all legend entries in one row.
    columns = 2 if panels == 1 else 6
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    completed = sum(row.state is TrialState.COMPLETED for row in rows)
    best = front(objectives, rows)
    title = f"{name}: {len(best)} Pareto points of {completed} completed trials"
    figure.suptitle("\n".join(textwrap.wrap(title, 46 * panels)), fontsize=11)
    return figure


_Parts = Sequence[tuple[str, str, str]]  # label, title, colour of each round


def _parts(rows: Sequence[TrialRecord], rounds: Mapping[str, str] | None) -> _Parts:
    """Return the rounds of the source in order, then labels that only trials have, such as manual ones."""
    titles = dict(rounds or {})
    for row in rows:
        titles.setdefault(row.candidate.round, row.candidate.round)
    return [(label, title, COLOURS[i % len(COLOURS)]) for i, (label, title) in enumerate(titles.items())]


def _scatter(
    axis: Any, objectives: Objectives, rows: Sequence[TrialRecord], x: str, y: str, parts: _Parts
) -> None:
    best = {row.index for row in front(objectives, rows)}
    points = [(row, row.values()) for row in rows]
    completed = [(row, v) for row, v in points if row.state is TrialState.COMPLETED and x in v and y in v]
    feasible = [(row, v) for row, v in completed if objectives.feasible(v)]
    dimmed = [v for row, v in completed if not objectives.feasible(v)]
    axis.scatter(
        [show(x, v[x]) for v in dimmed],
        [show(y, v[y]) for v in dimmed],
        s=14,
        c="#cccccc",
        label="over budget" if dimmed else None,
    )
    for round_name, title, colour in parts:
        of_round = [(row, v) for row, v in feasible if row.candidate.round == round_name]
        if of_round:
            axis.scatter(
                [show(x, v[x]) for _, v in of_round], [show(y, v[y]) for _, v in of_round], s=22, c=colour, alpha=0.75,
                linewidths=0, label=title,
            )  # fmt: skip
    on_front = [v for row, v in feasible if row.index in best]
    axis.scatter(
        [show(x, v[x]) for v in on_front], [show(y, v[y]) for v in on_front], s=52, facecolors="none", edgecolors="black", linewidths=1,
        label="on the front of all objectives",
    )  # fmt: skip
    if feasible:
        pair = Objectives((x, y), {x: 1.0, y: 1.0}, {})
        values = [v for _, v in feasible]
        steps = sorted(
            (show(x, values[i][x]), show(y, values[i][y])) for i in nondominated(pair.matrix(values))
        )
        axis.step(
            [a for a, _ in steps], [b for _, b in steps], where="post", color="black", linewidth=0.8, zorder=0
        )
    for name, set_scale, own in ((x, axis.set_xscale, axis.xaxis), (y, axis.set_yscale, axis.yaxis)):
        if _logarithmic(objectives, name) and _positive(v[name] for _, v in completed):
            set_scale("log")
            plain_ticks(own)
    if y in METRICS and METRICS[y].bounded:
        axis.set_ylim(top=min(100.0, axis.get_ylim()[1]))
    axis.set_xlabel(label(x))
    axis.set_ylabel(label(y))
    for metric, span in ((x, axis.axvspan), (y, axis.axhspan)):
        if metric in objectives.budgets:
            limit = show(metric, objectives.budgets[metric])
            low, high = axis.get_xlim() if metric == x else axis.get_ylim()
            if limit < high:
                span(limit, high, color="#d62728", alpha=0.08, linewidth=0)
                (axis.set_xlim if metric == x else axis.set_ylim)(low, high)
    axis.grid(True, which="major", linewidth=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _logarithmic(objectives: Objectives, name: str) -> bool:
    """Return whether an axis is logarithmic: as the objective's scale, else as the default for the metric."""
    if name in objectives.scales:
        return objectives.scales[name].kind == "log"
    return METRICS[name].unit != "fraction"


def _positive(values: Iterable[float]) -> bool:
    """Return whether `values` is not empty and a logarithmic axis can show all, which excludes an error of 0."""
    items = list(values)
    return bool(items) and min(items) > 0


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis with the plain numbers 1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _progress(axis: Any, objectives: Objectives, rows: Sequence[TrialRecord], parts: _Parts) -> None:
    name = objectives.names[0]
    completed = [row for row in rows if row.state is TrialState.COMPLETED and name in row.values()]
    for round_name, title, colour in parts:
        of_round = [row for row in completed if row.candidate.round == round_name]
        if of_round:
            axis.scatter(
                [r.index for r in of_round],
                [show(name, r.values()[name]) for r in of_round],
                s=22,
                c=colour,
                label=title,
            )
    best, smallest = [], float("inf")
    for row in completed:
        if objectives.feasible(row.values()):
            smallest = min(smallest, show(name, row.values()[name]))
        best.append(smallest)
    axis.step(
        [row.index for row in completed],
        best,
        where="post",
        color="black",
        linewidth=0.8,
        label="best so far",
    )
    axis.set_xlabel("trial")
    axis.set_ylabel(label(name))
    axis.grid(True, linewidth=0.3)


def show(metric: str, value: float) -> float:
    """Convert a value to the unit of the plots: percent, KB, ms."""
    unit = METRICS[metric].unit
    return 100 * value if unit == "fraction" else value / 1024 if unit == "B" else value


def label(metric: str) -> str:
    """Return the title of an axis with its unit."""
    unit = {"fraction": "%", "B": "KB"}.get(METRICS[metric].unit, METRICS[metric].unit)
    return f"{METRICS[metric].title} [{unit}]"


def panel(
    axis: Any,
    objectives: Objectives,
    rows: Sequence[TrialRecord],
    x: str,
    y: str,
    rounds: Mapping[str, str] | None = None,
) -> None:
    """Draw one pair of metrics with its legend on matplotlib axes; with `x` "trial", draw `y` over the trials.

    `rounds`: label -> title, in order, as in `draw`.
    """
    if x == "trial":
        _progress(axis, Objectives((y,), {y: 1.0}, objectives.budgets), rows, _parts(rows, rounds))
    else:
        _scatter(axis, objectives, rows, x, y, _parts(rows, rounds))
    axis.legend(frameon=False, fontsize=8)
