"""One experiment's results in a folder: every trial as CSV, the front as CSV and JSON, the front's plots."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsemod.objectives import Objectives
from sparsemod.records import TrialState
from sparsemod.report.plots import pareto_figure
from sparsemod.report.repetitions import repetitions, repetitions_csv
from sparsemod.report.rows import Row, front


def lineage(row: Row, by_index: Mapping[int, Row]) -> list[dict[str, Any]]:
    """The row's ancestors, nearest first: trial, and the operators that led from it to its child."""
    found: list[dict[str, Any]] = []
    at = row
    while at.candidate.parent is not None:
        found.append({"trial": at.candidate.parent, "operators": list(at.candidate.operators)})
        if at.candidate.parent not in by_index or len(found) > len(by_index):
            break
        at = by_index[at.candidate.parent]
    return found


def trials_csv(rows: Sequence[Row]) -> str:
    """All trials, a line each: identity, state, measured values (with their unit in the column's name), then parameters."""
    metrics = {m.metric: m.unit for row in rows for m in row.measurements if m.split != "test"}
    parameters = list(dict.fromkeys(name for row in rows for name in row.candidate.parameters))
    return csv_header(metrics, parameters) + csv_lines(rows, metrics, parameters)


def csv_header(metrics: Mapping[str, str], parameters: Iterable[str]) -> str:
    """The first line of `trials_csv`; `metrics`: metric -> unit."""
    fixed = ["trial", "state", "round", "origin", "parent", "operators", "epochs", "seconds", "failure"]
    return _csv([[*fixed, *(f"{metric} [{unit}]" for metric, unit in metrics.items()), *parameters]])


def csv_lines(rows: Iterable[Row], metrics: Iterable[str], parameters: Iterable[str]) -> str:
    """The lines of `trials_csv` for some trials, with these columns."""
    metrics, parameters = list(metrics), list(parameters)
    lines = []
    for row in rows:
        c, values = row.candidate, row.values()
        lines.append(
            [
                row.index, row.state.value, c.round, c.origin, "" if c.parent is None else c.parent, "; ".join(c.operators),
                f"{row.epochs:g}", f"{row.seconds:.3f}", row.failure,
                *(values.get(metric, "") for metric in metrics), *(c.parameters.get(name, "") for name in parameters),
            ]
        )  # fmt: skip
    return _csv(lines)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    """Lines of CSV. A spreadsheet runs text that begins like a formula: such text gets an apostrophe before it. Numbers stay as they are."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in line]
        for line in lines
    )
    return out.getvalue()


def front_json(name: str, objectives: Objectives, rows: Sequence[Row]) -> dict[str, Any]:
    """The front as plain data: parameters, measurements with provenance, lineage, artifacts, hypervolume and its history."""
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
    """Write trials.csv, pareto.csv, pareto.json, pareto.png and pareto.svg into `folder`; returns kind -> path. Where candidates were repeated,
    repetitions.csv too. `rounds`: label -> title of the experiment's rounds, in order; default: the labels.

    Each file appears whole or not at all. The plots are left out when no trial has completed.
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
    """Replace `path` by `content` at once, so that a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide results from the user's own tools
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
