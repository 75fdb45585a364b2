"""End of attempts: the worker's report, and the next state of the trial.

A finished trial never changes. After an unsuccessful attempt the trial is queued again, unless its
experiment is over or it has no attempts left. Every attempt stays recorded.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import AttemptState, ExperimentState, LogLine
from service.schemas.workers import AttemptOutcome
from service.store.files import lock_files
from service.store.pauses import Pauses
from service.store.report_statements import (
    FINISH_AT_ONCE,
    LOCKED_TRIAL,
    REPORT_AT_ONCE,
    REPORTED,
    SET_ATTEMPT,
    SET_TRIAL,
    replacing_points,
)
from service.store.tables import attempts, curve_points, log_lines, trial_artifacts
from service.store.trial_rows import ADD_MEASUREMENTS, measurement_rows
from sparsemod.errors import InvalidInput, NotFound, StaleLease
from sparsemod.files import fingerprint
from sparsemod.records import Artifact, CurvePoint, FailureKind, TrialResult, TrialState
from sparsemod.units import METRICS

WHOLE = "whole"
"""`Failure.detail` of an environment failure that affects the worker for all experiments."""

FILES = "files"
"""`Failure.detail` when files are missing on the server: no worker can run the trials that need them."""

RELEASED = "released"
"""`Failure.detail` of a trial that its worker gave back. It does not count as a fault."""


class Reports(Pauses):
    """Methods of the store that end attempts."""

    def finish(
        self, attempt_id: int, token: str, result: TrialResult, log: Sequence[LogLine] = ()
    ) -> AttemptOutcome:
        """End the attempt, and the trial unless it is queued again.

        Repeating the report returns the same answer. Raises NotFound, StaleLease, InvalidInput for an
        inconsistent result or for files that were not uploaded.
        """
        with self._write() as connection:
            return self._finish(connection, attempt_id, token, result, log, self.clock())

    def _finish(
        self,
        connection: sa.Connection,
        attempt_id: int,
        token: str,
        result: TrialResult,
        log: Sequence[LogLine],
        now: float,
    ) -> AttemptOutcome:
        row = connection.execute(REPORTED, {"which": attempt_id}).one_or_none()
        if row is None:
            raise NotFound("attempt", attempt_id)
        if row.token != token or (row.attempt_state != AttemptState.RUNNING and row.outcome is None):
            raise self._stale(connection, attempt_id, token)
        certain = result.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)
        trial: Any = row if certain else connection.execute(LOCKED_TRIAL, {"which": row.id}).one()
        place = {"experiment": trial.experiment_id, "trial": trial._mapping["index"]}
        if row.attempt_state != AttemptState.RUNNING:
            return AttemptOutcome(**place, state=TrialState(row.outcome))
        stored = self._stored_text(trial.experiment_id, trial.spec_text)
        # When the stored spec does not validate any more, the objectives are unknown.
        check_result(result, () if stored.error is not None else stored.spec.objectives)
        self._store_log(connection, attempt_id, log)
        state, ending = self._next_states(connection, trial, result)
        failure = None if result.failure is None else result.failure.model_dump(mode="json")
        end = {
            "which": attempt_id, "state": ending.value, "outcome": state.value, "ended_at": now, "heartbeat_at": now,
            "failure": failure,
        }  # fmt: skip
        about = {"attempt": attempt_id, "ending": ending.value}
        points = point_rows(attempt_id, result.curve)
        measured = measurement_rows(trial.id, result.measurements) if state.finished else []
        together: dict[str, Any] | None = None
        if self._postgres and state.finished:
            together = {f"end_{name}": value for name, value in end.items()}
            together |= {"points": points, "measurements": measured}
        else:
            if points:
                connection.execute(self._add_points, points)
            if measured:
                connection.execute(ADD_MEASUREMENTS, measured)
            connection.execute(SET_ATTEMPT, end)
        self._write_state(connection, trial, state, now, result, about, together)
        if _environment_failed(result):
            self._pause_after(connection, row.worker, trial.experiment_id, result, now)
        elif ending is not AttemptState.RELEASED and trial.paused:
            self._machine_works(connection, row.worker, trial.experiment_id)
        return AttemptOutcome(**place, state=state)

    def _next_states(
        self, connection: sa.Connection, trial: Any, result: TrialResult
    ) -> tuple[TrialState, AttemptState]:
        """Return the next state of the trial and of the attempt."""
        if result.state is TrialState.STOPPED:
            # The user stopped the experiment, not the trial: it stays queued with its checkpoint until the
            # experiment is resumed.
            final = trial.stop_requested or _over(trial.experiment_state)
            return (TrialState.STOPPED if final else TrialState.QUEUED), AttemptState.STOPPED
        if result.state is not TrialState.FAILED:
            return result.state, AttemptState.COMPLETED
        if result.failure is not None and result.failure.kind is FailureKind.INVALID:
            return TrialState.FAILED, AttemptState.FAILED
        if _environment_failed(result) or (result.failure is not None and result.failure.detail == RELEASED):
            return self._state_after_failure(connection, trial, counted=False), AttemptState.RELEASED
        return self._state_after_failure(connection, trial, counted=True), AttemptState.FAILED

    def _pause_after(
        self, connection: sa.Connection, worker: str, experiment: int, result: TrialResult, now: float
    ) -> None:
        """Pause the worker or the experiment after an environment failure."""
        failure = result.failure
        if failure is None:
            return
        if failure.detail == FILES:
            self._pause(connection, "files", failure.message, now, None, experiment)
        else:
            place = None if failure.detail == WHOLE else experiment
            self._pause(connection, "worker", failure.message, now, worker, place)

    def _state_after_failure(self, connection: sa.Connection, trial: Any, *, counted: bool) -> TrialState:
        """Return the trial's next state after an unsuccessful attempt.

        It is queued, failed after the last allowed attempt, or stopped when the user or the end of the
        experiment stopped it. `counted`: whether the attempt counts towards limits.attempts.
        """
        if _over(trial.experiment_state) or trial.stop_requested:
            return TrialState.STOPPED
        if not counted:
            return TrialState.QUEUED
        faults = connection.execute(
            sa.select(sa.func.count()).where(
                attempts.c.trial_id == trial.id,
                attempts.c.id > (trial.forgiven or 0),
                attempts.c.state.in_([AttemptState.FAILED.value, AttemptState.LOST.value]),
            )
        ).scalar_one()
        allowed = self._stored_text(trial.experiment_id, trial.spec_text).spec.limits.attempts
        return TrialState.FAILED if faults + 1 >= allowed else TrialState.QUEUED

    def _write_state(
        self,
        connection: sa.Connection,
        trial: Any,
        state: TrialState,
        now: float,
        result: TrialResult,
        about: dict[str, Any],
        together: dict[str, Any] | None = None,
    ) -> None:
        """Write the trial's new state, and the content of the result when that state is final.

        The trial is locked. `together`: further parameters of REPORT_AT_ONCE, whose rows are then written too.
        """
        data: dict[str, Any] = {"index": trial._mapping["index"], "state": state.value, **about}
        if not state.finished:
            self._event(connection, trial.experiment_id, "trial", data, now)
            connection.execute(SET_TRIAL, {"which": trial.id, "state": state.value})
            return
        # Before the event, which locks the experiment until the commit.
        self._store_artifacts(connection, trial.id, result.artifacts)
        failure = result.failure if state is TrialState.FAILED else None
        change: dict[str, Any] = {
            "state": state.value, "finished_at": now, "trained_epochs": result.epochs, "seconds": result.seconds,
            "notes": list(result.notes), "failure": None if failure is None else failure.model_dump(mode="json"),
            "failure_kind": None if failure is None else failure.kind.value,
        }  # fmt: skip
        if self._postgres:
            bound = {
                "which": trial.id, "experiment": trial.experiment_id, "now": now, "updated_at": now, "kind": "trial",
                "data": data,
            }  # fmt: skip
            final = {f"set_{name}": value for name, value in change.items()}
            statement = FINISH_AT_ONCE if together is None else REPORT_AT_ONCE
            connection.execute(statement, bound | final | (together or {}))
            return
        if state is not TrialState.STOPPED:
            change["stopping"] = None  # it ended before the decision reached the worker
        change["finished_event"] = self._event(connection, trial.experiment_id, "trial", data, now)
        connection.execute(SET_TRIAL, {"which": trial.id, **change})

    def _store_artifacts(self, connection: sa.Connection, trial_id: int, files: Sequence[Artifact]) -> None:
        if files:
            sizes = lock_files(connection, [file.digest for file in files])
            connection.execute(sa.insert(trial_artifacts), artifact_rows(trial_id, files, sizes))

    def _renew_lease(self, connection: sa.Connection, attempt_id: int, token: str, now: float) -> int:
        """Renew the lease, lock the attempt and return the trial's id. Raises NotFound, StaleLease."""
        trial_id = connection.execute(
            sa.update(attempts)
            .where(
                attempts.c.id == attempt_id,
                attempts.c.token == token,
                attempts.c.state == AttemptState.RUNNING,
            )
            .values(heartbeat_at=now, expires_at=now + self.lease_seconds)
            .returning(attempts.c.trial_id)
        ).scalar()
        if trial_id is None:
            raise self._stale(connection, attempt_id, token)
        return int(trial_id)

    def _stale(self, connection: sa.Connection, attempt_id: int, token: str) -> NotFound | StaleLease:
        row = connection.execute(
            sa.select(attempts.c.token, attempts.c.state).where(attempts.c.id == attempt_id)
        ).one_or_none()
        if row is None:
            return NotFound("attempt", attempt_id)
        why = "the token does not match" if row.token != token else f"it has ended: {row.state}"
        return StaleLease(f"attempt {attempt_id}: {why}; nothing was changed")

    def _store_points(self, connection: sa.Connection, attempt_id: int, points: Iterable[CurvePoint]) -> None:
        if rows := point_rows(attempt_id, points):
            connection.execute(self._add_points, rows)

    def _store_log(self, connection: sa.Connection, attempt_id: int, lines: Iterable[LogLine]) -> None:
        rows = [log_row(attempt_id, line) for line in lines]
        if rows:
            connection.execute(self._add_log_lines, rows)

    # Built once, see service.store.engine.

    @cached_property
    def _add_points(self) -> Any:
        return replacing_points(self._insert(curve_points))

    @cached_property
    def _add_log_lines(self) -> Any:
        return self._insert(log_lines).on_conflict_do_nothing()


def _environment_failed(result: TrialResult) -> bool:
    """Return whether the machine caused the failure. Such an attempt does not count."""
    return result.failure is not None and result.failure.kind is FailureKind.ENVIRONMENT


def _over(experiment_state: str) -> bool:
    return experiment_state in (ExperimentState.DONE, ExperimentState.FAILED)


def artifact_rows(
    trial_id: int, files: Sequence[Artifact], sizes: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a trial's files. `sizes`: of the stored files, by digest; raises InvalidInput for a file that
    differs from them."""
    for place, file in enumerate(files if sizes is not None else ()):
        if sizes is None or file.digest not in sizes:
            raise InvalidInput(
                f"result.artifacts.{place}.digest", file.digest, "a file that was uploaded before"
            )
        if file.size != sizes[file.digest]:
            allowed = f"the file's size, {sizes[file.digest]}"
            raise InvalidInput(f"result.artifacts.{place}.size", file.size, allowed)
    return [{"trial_id": trial_id, **file.model_dump(mode="json")} for file in files]


def point_rows(attempt_id: int, curve: Iterable[CurvePoint]) -> list[dict[str, Any]]:
    """Return the rows of curve points. Of points of the same epoch, the last one counts."""
    rows = {point.epoch: {"attempt_id": attempt_id, **_finite(point.model_dump())} for point in curve}
    return list(rows.values())


def _finite(point: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in point.items()
    }


def check_result(result: TrialResult, objectives: Sequence[str]) -> None:
    """Raise InvalidInput for an inconsistent result."""
    if not result.state.finished:
        raise InvalidInput("result.state", result.state.value, "completed, infeasible, failed or stopped")
    if result.state is TrialState.FAILED and result.failure is None:
        raise InvalidInput("result.failure", None, "the reason why the trial failed")
    seen: set[tuple[str, str | None]] = set()
    for place, m in enumerate(result.measurements):
        if not math.isfinite(m.value):
            raise InvalidInput(
                f"result.measurements.{place}.value", m.value, f"a finite number for {m.metric}"
            )
        metric = METRICS.get(m.metric)
        if metric is not None and m.unit != metric.unit:
            raise InvalidInput(f"result.measurements.{place}.unit", m.unit, f"{metric.unit} for {m.metric}")
        most = 1.0 if metric is not None and metric.unit == "fraction" else math.inf
        if metric is not None and not 0 <= m.value <= most:
            allowed = "from 0 to 1" if most == 1.0 else "not negative"
            raise InvalidInput(f"result.measurements.{place}.value", m.value, f"{allowed} for {m.metric}")
        if (m.metric, m.split) in seen:
            raise InvalidInput(f"result.measurements.{place}.metric", m.metric, "each metric once per split")
        seen.add((m.metric, m.split))
    if result.state is TrialState.COMPLETED:
        missing = [name for name in objectives if result.value(name) is None]
        if missing:
            raise InvalidInput(
                "result.measurements", sorted(result.values()), f"also the objectives {', '.join(missing)}"
            )


def log_row(attempt_id: int, line: LogLine) -> dict[str, Any]:
    """Return the row of a log line."""
    message = line.message.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL's text cannot store NUL
    level = line.level.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    known = fingerprint(f"{level}\n{message}".encode(errors="replace"))[:32]
    return {
        "attempt_id": attempt_id,
        "time": line.time,
        "level": level,
        "message": message,
        "fingerprint": known,
    }
