"""Repetitions: completed trials of equal parameters and different seeds, with mean and spread of their metrics."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsemod.records import TrialRecord, TrialState, Value
from sparsemod.report.csv_text import csv_text


@dataclass(frozen=True)
class Spread:
    """A metric over repetitions, in the metric's unit: mean, sample standard deviation (n - 1), smallest and largest value."""

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Repetitions:
    """Completed trials of equal parameters: their indices, and the spread of each metric that all of them have."""

    parameters: dict[str, Value]
    trials: tuple[int, ...]
    metrics: dict[str, Spread]


def repetitions(rows: Sequence[TrialRecord]) -> list[Repetitions]:
    """Return the candidates with at least two completed trials, in order of the first one, without test data."""
    groups = by_parameters(row for row in rows if row.state is TrialState.COMPLETED)
    return [
        Repetitions(
            dict(group[0].candidate.parameters), tuple(row.index for row in group), common_metrics(group)
        )
        for group in groups
        if len(group) > 1
    ]


def by_parameters(rows: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """Return the trials in groups of equal parameters, by their index, in order of the first one."""
    groups: dict[str, list[TrialRecord]] = {}
    for row in sorted(rows, key=lambda row: row.index):
        groups.setdefault(json.dumps(row.candidate.parameters, sort_keys=True), []).append(row)
    return list(groups.values())


def common_metrics(rows: Sequence[TrialRecord]) -> dict[str, Spread]:
    """Return the spread of each metric that all trials have, without test data."""
    measured = [row.values() for row in rows]
    names = [name for name in measured[0] if all(name in values for values in measured)] if measured else []
    return {name: spread([values[name] for values in measured]) for name in names}


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value. The deviation of one value or of equal ones is exactly 0."""
    low, high = min(values), max(values)
    if len(values) == 1 or low == high:
        return Spread(low, 0.0, low, high)
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return Spread(mean, deviation, low, high)


def repetitions_csv(rows: Sequence[TrialRecord]) -> str:
    """Return a CSV line for each repeated candidate.

    It holds the trials, their number, mean and standard deviation of each metric (unit in the name), and
    the parameters.
    """
    groups = repetitions(rows)
    units = {m.metric: m.unit for row in rows for m in row.measurements if not m.on_test}
    metrics = [name for name in units if any(name in group.metrics for group in groups)]
    names = list(dict.fromkeys(name for group in groups for name in group.parameters))
    titles = [f"{kind} {name} [{units[name]}]" for name in metrics for kind in ("mean", "deviation")]
    lines: list[list[object]] = [["trials", "repetitions", *titles, *names]]
    for group in groups:
        cells: list[object] = []
        for name in metrics:
            one = group.metrics.get(name)
            cells += ["", ""] if one is None else [one.mean, one.deviation]
        trials = " ".join(map(str, group.trials))
        lines.append([trials, len(group.trials), *cells, *(group.parameters.get(name, "") for name in names)])
    return csv_text(lines)
