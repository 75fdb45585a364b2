"""Write the results of one experiment to a folder: all trials as CSV; the front as CSV, JSON and plots."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsemod.objectives import Objectives
from sparsemod.records import TrialState
from sparsemod.report.columns import Column, columns_of
from sparsemod.report.plots import pareto_figure
from sparsemod.report.repetitions import repetitions, repetitions_csv
from sparsemod.report.rows import Row, front


def lineage(row: Row, by_index: Mapping[int, Row]) -> list[dict[str, Any]]:
    """Return the row's ancestors, nearest first: index of the trial, and operators from it to its child."""
    ancestors: list[dict[str, Any]] = []
    child = row
    while child.candidate.parent is not None:
        ancestors.append({"trial": child.candidate.parent, "operators": list(child.candidate.operators)})
        if child.candidate.parent not in by_index or len(ancestors) > len(by_index):
            break
        child = by_index[child.candidate.parent]
    return ancestors


def trials_csv(rows: Sequence[Row]) -> str:
    """Return all trials as CSV, one line each, with the columns of `sparsemod.report.columns`.

    The unit of a metric is in the column's title.
    """
    table_columns = columns_of(rows)
    return csv_header(table_columns) + csv_lines(rows, table_columns)


def csv_header(table_columns: Iterable[Column]) -> str:
    """Return the header line of a table with these columns."""
    return _csv([[column.title for column in table_columns]])


def csv_lines(rows: Iterable[Row], table_columns: Collection[Column]) -> str:
    """Return the lines of trials in a table with these columns."""
    return _csv([column.cell(column.value(row)) for column in table_columns] for row in rows)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    """Format lines as CSV.

    Text that begins like a formula gets an apostrophe, so that a spreadsheet does not run it. Numbers are
    unchanged.
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in line]
        for line in lines
    )
    return out.getvalue()


def front_json(name: str, objectives: Objectives, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the front as plain data: points with provenance, lineage and artifacts; hypervolume and its history."""
    by_index = {row.index: row for row in rows}
    completed = [row for row in rows if row.state is TrialState.COMPLETED]
    history = objectives.history([row.values() for row in completed])
    return {
        "experiment": name,
        "objectives": list(objectives.names),
        "reference_point": dict(objectives.reference),
        "budgets": dict(objectives.budgets),
        "hypervolume": history[-1] if history else 0.0,
        "history": [
            {"trial": row.index, "hypervolume": value} for row, value in zip(completed, history, strict=True)
        ],
        "points": [
            {
                "trial": row.index,
                "origin": row.candidate.origin,
                "parameters": row.candidate.parameters,
                "measurements": [m.model_dump(mode="json", exclude={"detail"}) for m in row.measurements],
                "lineage": lineage(row, by_index),
                "artifacts": [artifact.model_dump(mode="json") for artifact in row.artifacts],
            }
            for row in front(objectives, rows)
        ],
    }


def write_results(
    folder: Path,
    name: str,
    objectives: Objectives,
    rows: Sequence[Row],
    rounds: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write trials.csv, pareto.csv, pareto.json, pareto.png and pareto.svg to `folder`; return kind -> path.

    With repeated candidates it also writes repetitions.csv. `rounds`: label -> title of the experiment's
    rounds, in order; default: the labels. Each file is written atomically. With an empty front, no plots
    are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    best = front(objectives, rows)
    files: dict[str, bytes] = {
        "trials.csv": trials_csv(rows).encode(),
        "pareto.csv": trials_csv(best).encode(),
        "pareto.json": (json.dumps(front_json(name, objectives, rows), indent=1) + "\n").encode(),
    }
    if repetitions(rows):
        files["repetitions.csv"] = repetitions_csv(rows).encode()
    if best:
        for kind in ("png", "svg"):
            files[f"pareto.{kind}"] = pareto_figure(name, objectives, rows, kind, rounds)
    for filename, content in files.items():
        write_atomically(folder / filename, content)
    return {filename: folder / filename for filename in files}


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically, so that a reader never sees a partial file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep other users and tools from reading results
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
