"""The summary of an experiment: a line for each combination of parameters, and the mean of each metric by each value."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sparsemod.records import TrialRecord, TrialState, Value
from sparsemod.report.csv_text import csv_text
from sparsemod.report.repetitions import Spread, by_parameters, common_metrics, spread
from sparsemod.units import METRICS


@dataclass(frozen=True)
class Combination:
    """The trials of equal parameters, without test data.

    `states`: number of trials by state; `metrics`: the spread over the completed trials of each metric that all of them
    have, deviation 0 for a single trial; `seconds`: total time of all trials; `failure`: the last failure's message.
    """

    parameters: dict[str, Value]
    trials: tuple[int, ...]
    states: dict[str, int]
    metrics: dict[str, Spread]
    seconds: float
    failure: str = ""

    @property
    def completed(self) -> int:
        """Number of completed trials."""
        return self.states.get(TrialState.COMPLETED.value, 0)


def combinations(rows: Iterable[TrialRecord]) -> list[Combination]:
    """Return the combinations of all finished trials, in the order of their first one."""
    return [_combination(group) for group in by_parameters(row for row in rows if row.state.finished)]


def ranked(found: Iterable[Combination], metric: str) -> list[Combination]:
    """Return combinations by the mean of a metric, smallest first; those without it are last."""
    return sorted(found, key=lambda one: one.metrics[metric].mean if metric in one.metrics else math.inf)


def varied(candidates: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return the parameters in which candidates differ, in their order."""
    names = dict.fromkeys(name for candidate in candidates for name in candidate)
    return [name for name in names if len({str(candidate.get(name)) for candidate in candidates}) > 1]


def by_value(found: Sequence[Combination], metric: str) -> dict[str, dict[Value, Spread]]:
    """Return parameter -> value -> the spread of the combinations' means, for the parameters that vary."""
    result: dict[str, dict[Value, Spread]] = {}
    for name in varied([one.parameters for one in found]):
        means: dict[Value, list[float]] = {}
        for one in found:
            if name in one.parameters and metric in one.metrics:
                means.setdefault(one.parameters[name], []).append(one.metrics[metric].mean)
        result[name] = {value: spread(given) for value, given in means.items()}
    return result


def summary_csv(found: Sequence[Combination]) -> str:
    """Return a CSV line for each combination: its parameters, states, mean and deviation of each metric, time, failure."""
    names = list(dict.fromkeys(name for one in found for name in one.parameters))
    known = {name for one in found for name in one.metrics}
    metrics = [*(name for name in METRICS if name in known), *sorted(known - METRICS.keys())]
    titles = [
        f"{kind} {name}{f' [{METRICS[name].unit}]' if name in METRICS else ''}"
        for name in metrics
        for kind in ("mean", "deviation")
    ]
    lines: list[list[object]] = [[*names, "trials", "states", *titles, "seconds", "failure"]]
    for one in found:
        cells: list[object] = []
        for name in metrics:
            value = one.metrics.get(name)
            cells += ["", ""] if value is None else [value.mean, value.deviation]
        states = " ".join(f"{count} {state}" for state, count in one.states.items())
        lines.append(
            [
                *(one.parameters.get(name, "") for name in names),
                " ".join(map(str, one.trials)),
                states,
                *cells,
                f"{one.seconds:.3f}",
                one.failure,
            ]
        )
    return csv_text(lines)


def _combination(rows: Sequence[TrialRecord]) -> Combination:
    failures = [row.failure_message for row in rows if row.failure_message]
    return Combination(
        dict(rows[0].candidate.parameters),
        tuple(row.index for row in rows),
        dict(Counter(row.state.value for row in rows)),
        common_metrics([row for row in rows if row.state is TrialState.COMPLETED]),
        math.fsum(row.total_seconds for row in rows),
        failures[-1] if failures else "",
    )
