"""Attempts: claims, leases, reports.

A claim is one conditional UPDATE that changes the trial from queued to running. Every report carries the
attempt's token. A report after the lease was lost raises StaleLease and changes nothing.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import ValidationError

from service.schemas.trials import AttemptState, ExperimentState, LogLine
from service.schemas.workers import Claim, Heartbeat
from service.store.claim_statements import (
    ADD_ATTEMPT,
    CLAIMED,
    EARLIER,
    LOOK,
    RUNNING_TRIAL,
    TAKE,
    TAKE_AT_ONCE,
)
from service.store.engine import Clock
from service.store.files import lock_files
from service.store.report_statements import LOCKED_TRIAL
from service.store.reports import Reports
from service.store.stopping import Stopping
from service.store.stored_spec import StoredSpecInvalid
from service.store.tables import attempts, experiments, trials, workers
from service.store.trial_rows import candidate, parent_trial
from sparsemod.errors import Conflict, NotFound
from sparsemod.records import CurvePoint, Failure, FailureKind, TrialResult, TrialState

log = structlog.get_logger("store")

SEEN_EVERY_SECONDS = 5.0
"""Seconds between two updates of an idle worker's `last_seen`."""


class Unreadable(Exception):
    """A claim is impossible because the stored data of an experiment, or of one trial (by id), do not
    validate."""

    def __init__(self, experiment: int, trial: int | None, reason: str) -> None:
        self.experiment, self.trial, self.reason = experiment, trial, reason
        super().__init__(reason)


class Attempts(Stopping, Reports):
    """Methods of the store for workers."""

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        super().__init__(engine, clock, lease_seconds)
        self._barred: set[int] = set()  # experiments
        self._barred_trials: set[int] = set()  # by id
        self._seen: dict[str, float] = {}  # worker -> last time that a group of reports recorded it

    lenient_until = 0.0
    """Time of `clock` before which no lease is revoked, set by a starting server: workers could not renew before."""

    def claim(
        self,
        worker: str,
        device: str = "cpu",
        slots: int = 1,
        request: str | None = None,
        login: int | None = None,
        started: bool = False,
    ) -> Claim | None:
        """Claim the oldest queued trial of a running experiment.

        Return None when no trial is queued or the worker is draining. Paused workers and experiments are skipped
        (see Pauses). `started` means that the worker is a new process: its earlier pauses are removed. A
        repeated `request` returns the same claim. Experiments and trials whose stored data do not validate
        are skipped. Raises Conflict when `request` was used by another `login`.
        """
        if started:
            self.unpause("worker", worker=worker)
        while True:
            try:
                return self._try_claim(worker, device, slots, request, login)
            except Unreadable as error:
                # Each iteration bars one more experiment or trial, so the loop ends.
                log.error(
                    "stored data invalid, not handed out", experiment=error.experiment, reason=error.reason
                )
                (self._barred if error.trial is None else self._barred_trials).add(
                    error.experiment if error.trial is None else error.trial
                )

    def _try_claim(
        self, worker: str, device: str, slots: int, request: str | None, login: int | None
    ) -> Claim | None:
        """Try to claim once. Raises Conflict, Unreadable."""
        now = self.clock()
        with self._read() as connection:
            barred = self._still_barred(connection)
            claimable, lost, repeated, fresh, draining = self._peek(connection, worker, request, now, barred)
        # Idle workers ask often. Only these four take the write lock.
        if not (claimable or lost or repeated or not fresh):
            return None
        if lost:
            self.reap()
        with self._write() as connection:
            if not fresh:
                self._record_worker(connection, worker, device, slots, now)
            if request is not None:
                earlier = connection.execute(EARLIER, {"request": request}).mappings().one_or_none()
                if earlier is not None:
                    if earlier["login"] != login:
                        raise Conflict(f"request {request!r} was already used with another token")
                    running = earlier["state"] == AttemptState.RUNNING
                    return self._repeated_claim(connection, earlier["id"]) if running else None
            if draining:
                return None
            claim = self._take(connection, worker, device, request, login, now, barred)
            if claim is not None:
                self._event(connection, claim.experiment, "trial", running_event(claim, worker), now)
            return claim

    def _take(
        self,
        connection: sa.Connection,
        worker: str,
        device: str,
        request: str | None,
        login: int | None,
        now: float,
        barred: Mapping[str, list[int]],
    ) -> Claim | None:
        """Take the oldest trial that the worker may have. The caller records the event. Raises Unreadable."""
        token = secrets.token_hex(16)
        attempt = {
            "worker": worker, "device": device, "token": token, "request": request, "state": AttemptState.RUNNING.value,
            "started_at": now, "heartbeat_at": now, "expires_at": now + self.lease_seconds, "login": login,
        }  # fmt: skip
        chosen = {"now": now, "by": worker, **barred}
        if self._postgres:
            found = {f"new_{name}": value for name, value in attempt.items()}
            trial = connection.execute(TAKE_AT_ONCE[bool(barred)], chosen | found).one_or_none()
        else:
            trial = connection.execute(TAKE[bool(barred)], chosen).one_or_none()
        if trial is None:
            return None
        if self._postgres:
            attempt_id = int(trial.attempt_id)
        else:
            attempt_id = connection.execute(ADD_ATTEMPT, {"trial_id": trial.id, **attempt}).scalar_one()
        return self._read_claim(connection, attempt_id)

    def _peek(
        self,
        connection: sa.Connection,
        worker: str,
        request: str | None,
        now: float,
        barred: Mapping[str, list[int]],
    ) -> tuple[bool, bool, bool, bool, bool]:
        """Return five flags: a trial can be claimed, a lease has expired, the request has an earlier claim,
        the worker's `last_seen` is recent, the worker is draining."""
        bound = {
            "now": now, "request": request, "by": worker, "since": now - SEEN_EVERY_SECONDS, **barred,
        }  # fmt: skip
        look = connection.execute(LOOK[bool(barred)], bound).one()
        claimable, lost, repeated, fresh, draining = map(bool, look)
        lost = lost and now >= self.lenient_until
        return claimable and not draining, lost, repeated, fresh, draining

    def _record_worker(
        self, connection: sa.Connection, worker: str, device: str, slots: int, now: float
    ) -> None:
        seen = {"device": device, "slots": slots, "last_seen": now}
        connection.execute(self._see_worker, {"name": worker, "first_seen": now, **seen})

    @cached_property
    def _see_worker(self) -> Any:
        statement = self._insert(workers)
        return statement.on_conflict_do_update(
            index_elements=[workers.c.name],
            set_={name: statement.excluded[name] for name in ("device", "slots", "last_seen")},
        )

    def _still_barred(self, connection: sa.Connection) -> dict[str, list[int]]:
        """Return the statement parameters that exclude barred experiments and trials.

        Readmit experiments with a mended spec.
        """
        if self._barred:
            rows = connection.execute(
                sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.id.in_(self._barred))
            )
            self._barred = {row.id for row in rows if self._stored(row.id, row.spec).error is not None}
        if not self._barred and not self._barred_trials:
            return {}
        return {"barred": [0, *self._barred], "barred_trials": [0, *self._barred_trials]}

    def _repeated_claim(self, connection: sa.Connection, attempt_id: int) -> Claim | None:
        """Return the claim of a running attempt, None when its stored data do not validate any more."""
        try:
            return self._read_claim(connection, attempt_id)
        except Unreadable:
            return None

    def _read_claim(self, connection: sa.Connection, attempt_id: int) -> Claim:
        """Read an attempt's claim. Raises Unreadable."""
        row = connection.execute(CLAIMED, {"which": attempt_id}).one()
        return self._claim_of(connection, attempt_id, row, row.token, row.spec_text)

    def _claim_of(
        self, connection: sa.Connection, attempt_id: int, row: Any, token: str, spec_text: str
    ) -> Claim:
        """Return the claim of a row of `trials`. Raises Unreadable."""
        try:
            return self._build_claim(connection, attempt_id, row, token, spec_text)
        except StoredSpecInvalid as error:
            raise Unreadable(row.experiment_id, None, str(error)) from error
        except ValidationError as error:
            raise Unreadable(row.experiment_id, row.id, str(error)) from error

    def _build_claim(
        self, connection: sa.Connection, attempt_id: int, row: Any, token: str, spec_text: str
    ) -> Claim:
        stored = self._stored_text(row.experiment_id, spec_text)
        if stored.error is not None:
            raise StoredSpecInvalid(row.experiment_id, str(stored.error))
        return Claim(
            attempt=attempt_id,
            token=token,
            lease_seconds=self.lease_seconds,
            experiment=row.experiment_id,
            trial=row._mapping["index"],
            spec=stored.spec,
            candidate=candidate(row._mapping),
            epochs=row.epochs,
            seed=row.seed,
            parent=parent_trial(connection, row.experiment_id, row.parent),
            checkpoint=row.checkpoint,
        )

    def heartbeat(self, attempt_id: int, token: str) -> Heartbeat:
        """Renew the lease.

        The answer says whether the trial must stop early. Raises NotFound, StaleLease.
        """
        now = self.clock()
        with self._write() as connection:
            trial_id = self._renew_lease(connection, attempt_id, token, now)
            return self._beat(connection.execute(RUNNING_TRIAL, {"which": trial_id}).one())

    def _beat(self, trial: Any) -> Heartbeat:
        stop = trial.stop_requested or trial.state == ExperimentState.STOPPED
        return Heartbeat(stop=stop, lease_seconds=self.lease_seconds)

    def points(
        self, attempt_id: int, token: str, points: Sequence[CurvePoint] = (), log: Sequence[LogLine] = ()
    ) -> Heartbeat:
        """Store curve points and log lines, and renew the lease as `heartbeat` does. Repeating a report changes
        nothing. The experiment's stopping rule judges the new points.

        Raises NotFound, StaleLease.
        """
        now = self.clock()
        with self._write() as connection:
            trial_id = self._renew_lease(connection, attempt_id, token, now)
            self._store_points(connection, attempt_id, points)
            self._store_log(connection, attempt_id, log)
            trial = connection.execute(RUNNING_TRIAL, {"which": trial_id}).one()
            if points:
                data = {"index": trial._mapping["index"], "epoch": max(point.epoch for point in points)}
                self._event(connection, trial.experiment_id, "points", data, now)
            beat = self._beat(trial)
        return self.judged(attempt_id, trial, beat) if points else beat

    def checkpoint(self, attempt_id: int, token: str, digest: str) -> None:
        """Record an uploaded file from which a later attempt can resume.

        Raises NotFound for an unknown attempt or file, StaleLease.
        """
        now = self.clock()
        with self._write() as connection:
            trial_id = self._renew_lease(connection, attempt_id, token, now)
            if digest not in lock_files(connection, [digest]):
                raise NotFound("artifact", digest)
            connection.execute(sa.update(trials).where(trials.c.id == trial_id).values(checkpoint=digest))

    def reap(self) -> int:
        """End the attempts with an expired lease and return their number.

        Their trials are queued again, or fail after limits.attempts.
        """
        now = self.clock()
        if now < self.lenient_until:
            return 0
        expired = (attempts.c.state == AttemptState.RUNNING, attempts.c.expires_at < now)
        with self._read() as connection:
            identities = sorted(connection.execute(sa.select(attempts.c.id).where(*expired)).scalars())
        count = 0
        for identity in identities:
            with self._write() as connection:
                count += self._expire(connection, identity, now, expired)
        return count

    def _expire(
        self, connection: sa.Connection, attempt_id: int, now: float, expired: tuple[Any, ...]
    ) -> int:
        row = connection.execute(
            sa.select(attempts).where(attempts.c.id == attempt_id, *expired).with_for_update()
        ).one_or_none()
        if row is None:
            return 0  # renewed, finished or reaped concurrently
        trial = connection.execute(LOCKED_TRIAL, {"which": row.trial_id}).one()
        silent = now - row.heartbeat_at
        failure = Failure(
            kind=FailureKind.FAULT, message=f"worker {row.worker!r} sent nothing for {silent:.0f} s"
        )
        state = self._state_after_failure(connection, trial, counted=True)
        connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == attempt_id)
            .values(state=AttemptState.LOST.value, ended_at=now, failure=failure.model_dump(mode="json"))
        )
        result = TrialResult(state=TrialState.FAILED, failure=failure)
        self._write_state(connection, trial, state, now, result, {"attempt": attempt_id, "ending": "lost"})
        return 1


def running_event(claim: Claim, worker: str) -> dict[str, Any]:
    """Return the content of the event that a trial was claimed."""
    return {"index": claim.trial, "state": "running", "attempt": claim.attempt, "worker": worker}
