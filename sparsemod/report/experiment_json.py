"""An experiment as small JSON: its spec and one list of values for each trial, below 1 kB a trial.

Measurements keep objectives and budgets only; `trials.jsonl` of a local run holds every detail.
"""

import json
from collections.abc import Sequence
from typing import Any

from sparsemod.records import TrialRecord
from sparsemod.spec.experiment import ExperimentSpec

_DIGITS = 7
"""Significant digits of real numbers."""


def experiment_json(
    spec: ExperimentSpec, rows: Sequence[TrialRecord], front: Sequence[int], seconds: float
) -> str:
    """Return the JSON text.

    Keys: `spec`; `seconds` of the whole run; `front`, the indices of its trials; `parameters` and `metrics`, the
    names of the columns; `trials`, each with its index, state, origin, parent, operators, epochs, seconds, failure
    (a sentence), and its `parameters` and `metrics` as lists in the order of the names (null where it has none).
    """
    parameters = list(dict.fromkeys(name for row in rows for name in row.candidate.parameters))
    metrics = list(dict.fromkeys([*spec.objectives, *spec.budgets]))
    head = {
        "spec": spec.to_dict(),
        "seconds": round(seconds, 3),
        "front": list(front),
        "parameters": parameters,
        "metrics": metrics,
    }
    # One line for each trial: people read the file, and compare two with `diff`.
    lines = ",\n".join(_compact(_trial(row, parameters, metrics)) for row in rows)
    return f'{_compact(head)[:-1]},"trials":[\n{lines}\n]}}\n'


def _trial(row: TrialRecord, parameters: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    values = row.values()
    trial = {
        "index": row.index,
        "state": row.state.value,
        "origin": row.candidate.origin,
        "parent": row.candidate.parent,
        "operators": list(row.candidate.operators),
        "epochs": row.trained_epochs,
        "seconds": _short(row.total_seconds),
        "failure": (row.failure_message or None) and row.failure_message[:200],
        "stopped": row.stop_reason or None,
        "parameters": [_short(row.candidate.parameters.get(name)) for name in parameters],
        "metrics": [_short(values.get(name)) for name in metrics],
    }
    return {key: value for key, value in trial.items() if value not in (None, [])}


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
