"""Write the results of one experiment to a folder: all trials as CSV; the front as CSV, JSON and plots."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from sparsemod.files import write_atomically
from sparsemod.objectives import Objectives
from sparsemod.records import ParetoFront, TrialRecord
from sparsemod.report.columns import Column, columns_of
from sparsemod.report.csv_text import csv_text
from sparsemod.report.pareto import front, pareto_front
from sparsemod.report.plots import pareto_figure
from sparsemod.report.repetitions import repetitions, repetitions_csv


def trials_csv(rows: Sequence[TrialRecord]) -> str:
    """Return all trials as CSV, one line each, with the columns of `sparsemod.report.columns`.

    The unit of a metric is in the column's title.
    """
    table_columns = columns_of(rows)
    return csv_header(table_columns) + csv_lines(rows, table_columns)


def csv_header(table_columns: Iterable[Column]) -> str:
    """Return the header line of a table with these columns."""
    return csv_text([[column.title for column in table_columns]])


def csv_lines(rows: Iterable[TrialRecord], table_columns: Collection[Column]) -> str:
    """Return the lines of trials in a table with these columns."""
    return csv_text([column.cell(column.value(row)) for column in table_columns] for row in rows)


_FRONT = TypeAdapter(ParetoFront)


def front_json(front: ParetoFront) -> str:
    """Return the front as JSON, with the keys of `GET /pareto` except those that only a server has."""
    # The annotation makes a subclass's further keys disappear: an experiment's number, the artifacts' addresses.
    return _FRONT.dump_json(front, indent=1).decode() + "\n"


def write_results(
    folder: Path,
    name: str,
    objectives: Objectives,
    rows: Sequence[TrialRecord],
    rounds: Mapping[str, str] | None = None,
    known: ParetoFront | None = None,
) -> dict[str, Path]:
    """Write trials.csv, pareto.csv, pareto.json, pareto.png and pareto.svg to `folder`; return kind -> path.

    With repeated candidates it also writes repetitions.csv. `rounds`: label -> title of the experiment's
    rounds, in order; default: the labels. `known`: the front as a server shows it; default: the front of
    `rows`, which must then be in the order of their completion. Each file is written atomically. With an empty front, no plots
    are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    best = front(objectives, rows)
    files: dict[str, bytes] = {
        "trials.csv": trials_csv(rows).encode(),
        "pareto.csv": trials_csv(best).encode(),
        "pareto.json": front_json(known or pareto_front(name, objectives, rows)).encode(),
    }
    if repetitions(rows):
        files["repetitions.csv"] = repetitions_csv(rows).encode()
    if best:
        for kind in ("png", "svg"):
            files[f"pareto.{kind}"] = pareto_figure(name, objectives, rows, kind, rounds)
    for filename, content in files.items():
        write_atomically(folder / filename, content)
    return {filename: folder / filename for filename in files}
