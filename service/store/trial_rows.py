"""Rows of trials, measurements and artifacts as the records of the API."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import StoredArtifact, TrialView
from service.schemas.workers import ParentTrial
from service.store.engine import moment, moment_or_none
from service.store.tables import measurements, trial_artifacts, trials
from sparsemod.records import (
    Artifact,
    Candidate,
    CurvePoint,
    Failure,
    FailureKind,
    Measurement,
    StopDecision,
    TrialState,
)
from sparsemod.sources.observation import Observation

ADD_MEASUREMENTS = sa.insert(measurements)

CANDIDATE = (trials.c.parameters, trials.c.origin, trials.c.round, trials.c.parent, trials.c.operators)
"""The columns of `candidate`."""


def not_on_test(table: sa.FromClause = measurements) -> sa.ColumnElement[bool]:
    """Return the condition for measurements that choices may depend on, see `Measurement.on_test`."""
    return table.c.split.is_distinct_from("test")


NOT_ON_TEST = not_on_test()


def values_by_trial(connection: sa.Connection, *where: Any) -> dict[int, dict[str, float]]:
    """Return id of the trial -> metric -> value for the trials that meet all conditions, without test data."""
    return _by_trial(connection, measurements.c.value, *where)


def standard_errors_by_trial(connection: sa.Connection, *where: Any) -> dict[int, dict[str, float]]:
    """Return id of the trial -> metric -> standard error where one is stated, as `values_by_trial`."""
    stated = measurements.c.standard_error.is_not(None)
    return _by_trial(connection, measurements.c.standard_error, *where, stated)


def _by_trial(
    connection: sa.Connection, column: sa.ColumnElement[Any], *where: Any
) -> dict[int, dict[str, float]]:
    numbers: dict[int, dict[str, float]] = {}
    rows = connection.execute(
        sa.select(measurements.c.trial_id, measurements.c.metric, column)
        .join(trials, trials.c.id == measurements.c.trial_id)
        .where(*where, NOT_ON_TEST)
    )
    for trial_id, name, number in rows:
        numbers.setdefault(trial_id, {})[name] = number
    return numbers


def candidate(row: Mapping[Any, Any]) -> Candidate:
    """Convert the columns `CANDIDATE` of a row of `trials` to a record. Raises ValidationError."""
    return Candidate(
        parameters=row["parameters"],
        origin=row["origin"],
        round=row["round"],
        parent=row["parent"],
        operators=tuple(row["operators"]),
    )


def observation(
    row: Mapping[Any, Any],
    values: Mapping[str, float] | None,
    standard_errors: Mapping[str, float],
    weights: bool,
) -> Observation:
    """Convert a row of `trials`, with its measured numbers and whether its weights are stored, to an observation."""
    return Observation(
        index=row["index"],
        candidate=candidate(row),
        state=TrialState(row["state"]),
        values=values,
        epochs=row["trained_epochs"],
        failure=None if row["failure_kind"] is None else FailureKind(row["failure_kind"]),
        weights=weights,
        planned=float(row["epochs"]),
        standard_errors=standard_errors,
        stopping=_stopping(row),
    )


def curve_point(row: Mapping[Any, Any]) -> CurvePoint:
    losses = ("train_loss", "validation_loss", "validation_error")
    fields = {name: value for name, value in row.items() if name != "attempt_id"}
    return CurvePoint(**fields | {name: float("nan") for name in losses if fields[name] is None})


def trial_view(row: Mapping[Any, Any], measured: Iterable[Any], files: Iterable[Any]) -> TrialView:
    return TrialView(
        experiment=row["experiment_id"],
        index=row["index"],
        state=TrialState(row["state"]),
        candidate=candidate(row),
        epochs=row["epochs"],
        seed=row["seed"],
        costs=row["costs"],
        measurements=tuple(measurement(m) for m in measured),
        trained_epochs=row["trained_epochs"],
        seconds=row["seconds"],
        notes=tuple(row["notes"]),
        failure=None if row["failure"] is None else Failure.model_validate(row["failure"]),
        artifacts=tuple(stored_artifact(f) for f in files),
        created_at=moment(row["created_at"]),
        finished_at=moment_or_none(row["finished_at"]),
        kept=bool(row["kept"]),
        files_expired_at=moment_or_none(row["files_expired_at"]),
        stopping=_stopping(row),
    )


def _stopping(row: Mapping[Any, Any]) -> StopDecision | None:
    return None if row["stopping"] is None else StopDecision.model_validate(row["stopping"])


def new_view(row: Mapping[Any, Any]) -> TrialView:
    """Return the view of a new trial, which has no measurements and no files."""
    return trial_view(row, (), ())


def measurement_rows(trial_id: int, results: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Return the rows of a trial's measurements in the given order."""
    return [
        {"trial_id": trial_id, "position": position, **m.model_dump(mode="json")}
        for position, m in enumerate(results)
    ]


def add_measurements(connection: sa.Connection, trial_id: int, results: Iterable[Measurement]) -> None:
    """Store measurements of a trial in the given order."""
    if rows := measurement_rows(trial_id, results):
        connection.execute(ADD_MEASUREMENTS, rows)


def measurement(row: Any) -> Measurement:
    """Convert a row of `measurements` to a record."""
    return Measurement(
        metric=row.metric,
        value=row.value,
        unit=row.unit,
        method=row.method,
        target=row.target,
        split=row.split,
        standard_error=row.standard_error,
        detail=row.detail,
    )


def artifact(row: Any) -> Artifact:
    """Convert a row of `trial_artifacts` to a record."""
    return Artifact(kind=row.kind, digest=row.digest, size=row.size, name=row.name)


def stored_artifact(row: Any) -> StoredArtifact:
    """Convert a row of `trial_artifacts` to the record of the API."""
    return StoredArtifact.of(artifact(row))


def parent_trial(connection: sa.Connection, experiment_id: int, index: int | None) -> ParentTrial | None:
    """Return a completed trial with its files, from which another one inherits; None when there is none."""
    if index is None:
        return None
    query = sa.select(trials).where(
        trials.c.experiment_id == experiment_id,
        trials.c.index == index,
        trials.c.state == TrialState.COMPLETED,
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    files = connection.execute(sa.select(trial_artifacts).where(trial_artifacts.c.trial_id == row.id))
    return ParentTrial(
        index=index,
        parameters=row.parameters,
        epochs=row.trained_epochs,
        artifacts=tuple(artifact(file) for file in files),
    )
