"""The Pareto plot: every pair of the first objective with another one, front, budgets and infeasible trials marked."""

import io
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsemod.objectives import Objectives, nondominated
from sparsemod.records import TrialState
from sparsemod.report.rows import Row, front
from sparsemod.units import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#8da0cb", "#fc8d62", "#1b9e77", "#666666", "#e78ac3", "#a6761d")
"""Of the rounds, in their order."""


def pareto_figure(
    name: str, objectives: Objectives, rows: Sequence[Row], kind: str, rounds: Mapping[str, str] | None = None
) -> bytes:
    """The plot as a file's content; `kind` is png or svg. With one objective: its best value over the trials.

    `rounds`: label -> title, in order; labels that it leaves out go by themselves.
    """
    figure = draw(name, objectives, rows, rounds)
    out = io.BytesIO()
    # A fixed date keeps equal results equal byte for byte.
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def draw(
    name: str, objectives: Objectives, rows: Sequence[Row], rounds: Mapping[str, str] | None = None
) -> "Figure":
    """The plot, still without a file."""
    # Labels that only trials have, such as that of trials attached by hand, come after those of the source.
    titles = dict(rounds or {})
    for row in rows:
        titles.setdefault(row.candidate.round, row.candidate.round)
    parts = [(label, title, COLOURS[i % len(COLOURS)]) for i, (label, title) in enumerate(titles.items())]
    # Figure and not pyplot: no global state, so that a server may draw from any thread; the user's matplotlibrc has no say.
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    others = objectives.names[1:]
    panels = max(1, len(others))
    figure = Figure(figsize=(4.6 * panels, 4.2), layout="constrained", dpi=130)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if not others:
        _progress(axes[0], objectives, rows, parts)
    for axis, other in zip(axes, others, strict=False):
        _scatter(axis, objectives, rows, other, objectives.names[0], parts)
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    # A single panel is too narrow for all entries in a row.
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


def _scatter(axis: Any, objectives: Objectives, rows: Sequence[Row], x: str, y: str, parts: _Parts) -> None:
    best = {row.index for row in front(objectives, rows)}
    points = [(row, row.values()) for row in rows]
    known = [(row, v) for row, v in points if row.state is TrialState.COMPLETED and x in v and y in v]
    feasible = [(row, v) for row, v in known if objectives.feasible(v)]
    dimmed = [v for row, v in known if not objectives.feasible(v)]
    axis.scatter(
        [show(x, v[x]) for v in dimmed],
        [show(y, v[y]) for v in dimmed],
        s=14,
        c="#cccccc",
        label="over budget" if dimmed else None,
    )
    for round_name, title, colour in parts:
        chosen = [(row, v) for row, v in feasible if row.candidate.round == round_name]
        if chosen:
            axis.scatter(
                [show(x, v[x]) for _, v in chosen], [show(y, v[y]) for _, v in chosen], s=22, c=colour, alpha=0.75,
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
    if _positive(v[x] for _, v in known):
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis)
    if y == "error":
        if _positive(v[y] for _, v in known):
            axis.set_yscale("log")
            _plain_ticks(axis.yaxis)
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


def _positive(values: Iterable[float]) -> bool:
    """Whether a logarithmic axis shows all of them: a network without an error would vanish from it."""
    return all(value > 0 for value in values)


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis, in plain numbers instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _progress(axis: Any, objectives: Objectives, rows: Sequence[Row], parts: _Parts) -> None:
    name = objectives.names[0]
    known = [row for row in rows if row.state is TrialState.COMPLETED and name in row.values()]
    for round_name, title, colour in parts:
        chosen = [row for row in known if row.candidate.round == round_name]
        if chosen:
            axis.scatter(
                [r.index for r in chosen],
                [show(name, r.values()[name]) for r in chosen],
                s=22,
                c=colour,
                label=title,
            )
    best, smallest = [], float("inf")
    for row in known:
        if objectives.feasible(row.values()):
            smallest = min(smallest, show(name, row.values()[name]))
        best.append(smallest)
    axis.step(
        [row.index for row in known], best, where="post", color="black", linewidth=0.8, label="best so far"
    )
    axis.set_xlabel("trial")
    axis.set_ylabel(label(name))
    axis.grid(True, linewidth=0.3)


def show(metric: str, value: float) -> float:
    """The value in the unit that plots use: percent, KB, ms."""
    unit = METRICS[metric].unit
    return 100 * value if unit == "fraction" else value / 1024 if unit == "B" else value


def label(metric: str) -> str:
    """The axis' title with its unit."""
    unit = {"fraction": "%", "B": "KB"}.get(METRICS[metric].unit, METRICS[metric].unit)
    return f"{METRICS[metric].title} [{unit}]"
