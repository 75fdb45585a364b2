"""The results of an experiment, equal for a run in this process, a folder and a server."""

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from sparsemod.errors import InvalidInput, NotFound
from sparsemod.interactive.front import Front
from sparsemod.interactive.trial import Trial
from sparsemod.objectives import Objectives
from sparsemod.records import TrialRecord, TrialState
from sparsemod.report.frames import frame
from sparsemod.report.pareto import front
from sparsemod.report.result_source import ResultSource
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.templates import render
from sparsemod.units import metric, parse_upper, show_value, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 10
"""Largest number of points of the front in the HTML summary."""


class Results:
    """An experiment's results at one moment. `refresh` reads them again, for example during a server's run.

    `spec` is the spec of the run, `objectives` holds objectives and budgets, `place` is the folder or
    server of the results. Values are in the units of the metrics: fractions, bytes, milliseconds;
    `attrs["units"]` of a frame names them. Measurements on test data are excluded.
    """

    def __init__(self, source: ResultSource) -> None:
        self._source = source
        self.refresh()

    def refresh(self) -> "Results":
        """Read the results again and return them. Raises ServerUnavailable, or the errors of the folder."""
        read = self._source.read()
        self.spec: ExperimentSpec = read.spec
        self.objectives: Objectives = read.objectives
        self._rows: tuple[TrialRecord, ...] = read.rows
        for name in ("trials", "front"):
            self.__dict__.pop(name, None)
        return self

    @property
    def place(self) -> str:
        """The folder, or the server's address and the experiment's number."""
        return self._source.place

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.spec.name

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All trials, one line each; the index is the trial's index. The columns are those of trials.csv."""
        return frame(self._rows)

    @cached_property
    def front(self) -> Front:
        """The Pareto front, sorted by the first objective: a frame with the columns of `trials`.

        `front[0]` is its first row as a Trial.
        """
        return Front.of([self._trial(row) for row in front(self.objectives, self._rows)], self.trials)

    @property
    def hypervolume(self) -> float:
        """The share of the box up to the reference point that the front dominates on the objectives' scales, from 0 to 1."""
        return self.objectives.hypervolume([row.values() for row in self._completed()])

    def trial(self, index: int) -> Trial:
        """Return the trial with this index. Raises NotFound."""
        for row in self._rows:
            if row.index == index:
                return self._trial(row)
        raise NotFound("trial", index, self.place)

    def best(self, by: str | None = None, **limits: str | float) -> Trial:
        """Return the completed trial with the smallest `by` within the budgets and these limits.

        A limit is a metric and its largest value: `best(error="<= 3 %")`, `best(flash="16 KB",
        latency=2.5)`; numbers are in the metric's unit. `by`: default the first objective without a limit
        here, so that `best()` is the network with the smallest error and `best(error="<= 3 %")` the
        smallest one with at most 3 % error. The other objectives decide between equal trials. Raises
        UnknownName for a metric, InvalidInput for a limit, NotFound when no trial meets the limits.
        """
        bounds = dict(parse_upper(name, limit) for name, limit in limits.items())
        names = self.objectives.names
        first = (
            metric(by, "by").name if by is not None else next((n for n in names if n not in bounds), names[0])
        )
        order = [first, *(name for name in names if name != first)]
        candidates = [
            row
            for row in self._completed()
            if self.objectives.feasible(row.values()) and first in row.values()
        ]
        within_limits = [
            row
            for row in candidates
            if all(row.values().get(name, float("inf")) <= limit for name, limit in bounds.items())
        ]
        if not within_limits:
            limits_text = (
                ", ".join(f"{name} <= {show_value(name, limit)}" for name, limit in bounds.items()) or first
            )
            smallest = [
                f"{name} {show_value(name, min(v))}"
                for name in bounds
                if (v := [r.values()[name] for r in candidates if name in r.values()])
            ]
            context = (
                f", where the smallest is {', '.join(smallest)}"
                if smallest
                else f", which has {len(candidates)} completed trials within the budgets"
            )
            raise NotFound("completed trial with", limits_text, self.place + context)
        return self._trial(min(within_limits, key=lambda row: [row.values()[name] for name in order]))

    def plot(self, x: str | None = None, y: str | None = None, *, ax: "Axes | None" = None) -> "Axes":
        """Plot two metrics of the completed trials, with the front, the budgets and a line through the best points.

        The line is the front of these two metrics. `y`: default the first objective. `x`: default the
        second, or with one objective the trials in order ("trial"). `ax`: matplotlib axes, default those of
        a new figure. Returns the axes. Raises UnknownName for a metric.
        """
        names = self.objectives.names
        vertical = metric(y, "y").name if y is not None else names[0]
        rest = [name for name in names if name != vertical]
        horizontal = (
            "trial"
            if x == "trial" or (x is None and not rest)
            else metric(x, "x").name
            if x is not None
            else rest[0]
        )
        if horizontal == vertical:
            raise InvalidInput("x", x, f"another metric than y, which is {vertical}")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        from sparsemod.report.plots import panel

        titles = {part.name: part.title for part in self.spec.source.plan()}
        panel(ax, self.objectives, self._rows, horizontal, vertical, titles)
        ax.set_title(self.name, fontsize=11)
        return ax

    def _trial(self, row: TrialRecord) -> Trial:
        return Trial(self._source, self.spec, row, self.objectives.names)

    def _completed(self) -> list[TrialRecord]:
        return [row for row in self._rows if row.state is TrialState.COMPLETED]

    def _counts(self) -> str:
        counts = Counter(row.state for row in self._rows)
        return (
            ", ".join(f"{counts[state]} {state}" for state in TrialState if counts[state]) or "no trial yet"
        )

    def _why_empty(self) -> str:
        """Return why the front is empty although trials have ended, else ""."""
        failures = [row.failure_message for row in self._rows if row.failure_message]
        if len(self.front) or not self._rows:
            return ""
        if self._completed():
            return "no completed trial is within the budgets"
        return (
            f"no trial has completed; the last failure: {failures[-1]}"
            if failures
            else "no trial has completed"
        )

    def __repr__(self) -> str:
        trouble = self._why_empty()
        return f"Results({self.name!r}, {self._counts()}; {len(self.front)} on the front{f' ({trouble})' if trouble else ''}; {self.place})"

    def _repr_html_(self) -> str:
        names = [
            *self.objectives.names,
            *(name for name in self.objectives.budgets if name not in self.objectives.names),
        ]
        points = [
            (point.index, [show_value(name, value) if (value := point.values.get(name)) is not None else "" for name in names], point.row.candidate.origin)
            for point in self.front.points[:SHOWN]
        ]  # fmt: skip
        return render(
            "sparsemod.interactive", "results.html", name=self.name, place=self.place, counts=self._counts(), trouble=self._why_empty(),
            hypervolume=self.hypervolume, total=len(self.front), columns=[title(name) for name in names], points=points,
            budgets=[f"{title(name)} ≤ {show_value(name, limit)}" for name, limit in self.objectives.budgets.items()],
        )  # fmt: skip
