"""The columns of a table of trials: one definition for CSV files and data frames.

Every table begins with the same columns about a trial. Then come the metrics, in the order of `METRICS`,
and the parameters. Names are unique: a parameter with the name of another column is named
`parameters.NAME`, such a metric `measurements.NAME`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsemod.records import TrialRecord
from sparsemod.units import METRICS


def _plain(value: Any) -> Any:
    return "" if value is None else value


@dataclass(frozen=True)
class Column:
    """A column: `name` in a frame, `title` in a CSV file.

    `value` returns a trial's value, None where the trial has none; `cell` is that value in a CSV file.
    `unit` is "" for values without a unit. `dtype` is the type of the column in a frame, "text" for text;
    with "" the values determine it.
    """

    name: str
    title: str
    value: Callable[[TrialRecord], Any]
    unit: str = ""
    dtype: str = ""
    cell: Callable[[Any], Any] = _plain


INDEX = Column("trial", "trial", lambda row: row.index, dtype="int64")

_TRIAL = (
    Column("state", "state", lambda row: row.state.value, dtype="text"),
    Column("round", "round", lambda row: row.candidate.round, dtype="text"),
    Column("origin", "origin", lambda row: row.candidate.origin, dtype="text"),
    Column("parent", "parent", lambda row: row.candidate.parent, dtype="Int64"),
    Column("operators", "operators", lambda row: "; ".join(row.candidate.operators) or None, dtype="text"),
    Column("epochs", "epochs", lambda row: row.trained_epochs, "epochs", "float64", "{:g}".format),
    Column("seconds", "seconds", lambda row: row.total_seconds, "s", "float64", "{:.3f}".format),
    Column("failure", "failure", lambda row: row.failure_message or None, dtype="text"),
    Column("stopped", "stopped", lambda row: row.stop_reason or None, dtype="text"),
)


def columns(metrics: Mapping[str, str], parameters: Iterable[str]) -> list[Column]:
    """Return the columns of a table with these metrics (metric -> unit) and parameters; the first is `INDEX`."""
    ordered = [*(name for name in METRICS if name in metrics), *sorted(metrics.keys() - METRICS.keys())]
    result = [INDEX, *_TRIAL]
    used_names = {column.name for column in result}
    for metric in ordered:
        name = _unique_name(metric, "measurements", used_names)
        result.append(
            Column(name, f"{name} [{metrics[metric]}]", _measured(metric), metrics[metric], "float64")
        )
    for parameter in parameters:
        name = _unique_name(parameter, "parameters", used_names)
        result.append(Column(name, name, _parameter(parameter)))
    return result


def columns_of(rows: Sequence[TrialRecord]) -> list[Column]:
    """Return the columns of a table of these trials. Measurements on test data are excluded."""
    metrics: dict[str, str] = {}
    for row in rows:
        for m in row.measurements:
            if not m.on_test:
                metrics.setdefault(m.metric, m.unit)
    return columns(metrics, dict.fromkeys(name for row in rows for name in row.candidate.parameters))


def _unique_name(name: str, prefix: str, used_names: set[str]) -> str:
    unique = f"{prefix}.{name}" if name in used_names else name
    used_names.add(unique)
    return unique


def _measured(metric: str) -> Callable[[TrialRecord], Any]:
    return lambda row: row.values().get(metric)


def _parameter(name: str) -> Callable[[TrialRecord], Any]:
    return lambda row: row.candidate.parameters.get(name)


def units(table_columns: Collection[Column]) -> dict[str, str]:
    """Return column -> unit, for the columns with a unit."""
    return {column.name: column.unit for column in table_columns if column.unit}
