"""Attempts: handing out trials, leases, reports.

A claim is one conditional UPDATE: whoever changes the trial from queued to running has it. Every report shows the attempt's token; one that
comes after the lease was lost raises StaleLease and changes nothing.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import ValidationError

from service.schemas.trials import (
    AttemptState,
    Claim,
    ExperimentState,
    Heartbeat,
    LogLine,
    ParentTrial,
    PauseView,
    WorkerView,
)
from service.store.engine import Clock, moment
from service.store.files import hold
from service.store.reports import TRIAL_OF, Reports
from service.store.stored_spec import StoredSpecInvalid
from service.store.tables import (
    attempts,
    experiments,
    log_lines,
    pauses,
    trial_artifacts,
    trials,
    workers,
)
from sparsemod.errors import Conflict, NotFound
from sparsemod.records import Artifact, Candidate, CurvePoint, Failure, FailureKind, TrialResult, TrialState

log = structlog.get_logger("store")

SEEN_EVERY_SECONDS = 5.0
"""How often an idle worker's sign of life is written down."""

FORGET_WORKER_SECONDS = 3600.0
"""After how long a worker that is gone is no longer listed."""

_CLAIMABLE = (
    sa.select(trials.c.id)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(
        trials.c.state == TrialState.QUEUED.value,
        experiments.c.state == ExperimentState.RUNNING.value,
        ~sa.exists(
            sa.select(pauses.c.key).where(
                pauses.c.until > sa.bindparam("now"),
                pauses.c.claims.is_(sa.true()),
                sa.or_(pauses.c.worker.is_(None), pauses.c.worker == sa.bindparam("worker")),
                sa.or_(pauses.c.experiment_id.is_(None), pauses.c.experiment_id == trials.c.experiment_id),
            )
        ),
        # Parameters that hold lists; 0 is in each of them, because an empty list would need another statement.
        experiments.c.id.not_in(sa.bindparam("barred", expanding=True)),
        trials.c.id.not_in(sa.bindparam("barred_trials", expanding=True)),
    )
    .order_by(trials.c.id)
    .limit(1)
)

# Built once, see service.store.engine.
_TAKE, _TAKE_SKIPPING_LOCKED = (
    sa.update(trials)
    .where(trials.c.id == chosen.scalar_subquery(), trials.c.state == TrialState.QUEUED.value)
    .values(state=TrialState.RUNNING.value)
    .returning(trials.c.id, trials.c.index, trials.c.experiment_id)
    for chosen in (_CLAIMABLE, _CLAIMABLE.with_for_update(of=trials, skip_locked=True))
)
_ADD_ATTEMPT = sa.insert(attempts).returning(attempts.c.id)
_CLAIMED = (
    sa.select(trials, attempts.c.token, experiments.c.spec)
    .join(attempts, attempts.c.trial_id == trials.c.id)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(attempts.c.id == sa.bindparam("which"))
)
_LOOK = sa.select(
    _CLAIMABLE.exists(),
    sa.select(attempts.c.id)
    .where(attempts.c.state == AttemptState.RUNNING.value, attempts.c.expires_at < sa.bindparam("now"))
    .exists(),
    sa.select(attempts.c.id).where(attempts.c.request == sa.bindparam("request")).exists(),
    sa.select(workers.c.name)
    .where(workers.c.name == sa.bindparam("worker"), workers.c.last_seen > sa.bindparam("since"))
    .exists(),
    sa.select(workers.c.name)
    .where(workers.c.name == sa.bindparam("worker"), workers.c.draining.is_(sa.true()))
    .exists(),
)


class _Unreadable(Exception):
    """A claim that cannot be made, because what is stored of an experiment, or of one trial (by id), does not validate."""

    def __init__(self, experiment: int, trial: int | None, reason: str) -> None:
        self.experiment, self.trial, self.reason = experiment, trial, reason
        super().__init__(reason)


class Attempts(Reports):
    """The part of the store that workers use."""

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        super().__init__(engine, clock, lease_seconds)
        self._barred: set[int] = set()  # experiments
        self._barred_trials: set[int] = set()  # by id

    lenient_until = 0.0
    """No lease is taken away before this moment of `clock`. A server that starts sets it: as long as it was away, nobody could renew."""

    def claim(
        self,
        worker: str,
        device: str = "cpu",
        slots: int = 1,
        request: str | None = None,
        login: int | None = None,
        started: bool = False,
    ) -> Claim | None:
        """The oldest queued trial of a running experiment, or None, which a draining worker always gets. What is paused (see Pauses) is left
        out; with `started`, the worker is a new process, and what paused the one before is forgotten.

        A repeated `request` gets the claim that it got before; Conflict when that was another `login`'s. An experiment of which no claim can
        be made, because what is stored of it does not validate, is passed over.
        """
        if started:
            self.unpause("worker", worker=worker)
        while True:
            try:
                return self._try_claim(worker, device, slots, request, login)
            except _Unreadable as error:
                # Each turn bars one more experiment or trial, so this ends.
                log.error(
                    "what is stored cannot be handed out", experiment=error.experiment, reason=error.reason
                )
                (self._barred if error.trial is None else self._barred_trials).add(
                    error.experiment if error.trial is None else error.trial
                )

    def _try_claim(
        self, worker: str, device: str, slots: int, request: str | None, login: int | None
    ) -> Claim | None:
        """One attempt at a claim. Raises Conflict, _Unreadable."""
        now = self.clock()
        with self._read() as connection:
            barred = self._still_barred(connection)
            claimable, lost, repeated, fresh, draining = self._look(connection, worker, request, now, barred)
        # Idle workers ask often: without a trial, an expired lease or a sign of life to record, no write lock is taken.
        if not (claimable or lost or repeated or not fresh):
            return None
        if lost:
            self.reap()
        with self._write() as connection:
            if not fresh:
                self._seen(connection, worker, device, slots, now)
            if request is not None:
                known = (
                    connection.execute(sa.select(attempts).where(attempts.c.request == request))
                    .mappings()
                    .one_or_none()
                )
                if known is not None:
                    if known["login"] != login:
                        raise Conflict(f"request {request!r} was used before, with another token")
                    running = known["state"] == AttemptState.RUNNING
                    return self._repeated(connection, known["id"]) if running else None
            if draining:
                return None
            statement = _TAKE_SKIPPING_LOCKED if self._postgres else _TAKE
            trial = connection.execute(statement, {"now": now, "worker": worker, **barred}).one_or_none()
            if trial is None:
                return None
            attempt = {
                "trial_id": trial.id, "worker": worker, "device": device, "token": secrets.token_hex(16), "request": request,
                "state": AttemptState.RUNNING.value, "started_at": now, "heartbeat_at": now, "expires_at": now + self.lease_seconds,
                "login": login,
            }  # fmt: skip
            attempt_id = connection.execute(_ADD_ATTEMPT, attempt).scalar_one()
            data = {
                "index": trial._mapping["index"],
                "state": "running",
                "attempt": attempt_id,
                "worker": worker,
            }
            self._event(connection, trial.experiment_id, "trial", data, now)
            return self._claim(connection, attempt_id)

    def _look(
        self,
        connection: sa.Connection,
        worker: str,
        request: str | None,
        now: float,
        barred: Mapping[str, list[int]],
    ) -> tuple[bool, bool, bool, bool, bool]:
        """Whether there is a trial to claim, a lease that ran out, an earlier claim of this request, a fresh sign of life of the worker;
        whether the worker drains."""
        bound = {
            "now": now, "request": request, "worker": worker, "since": now - SEEN_EVERY_SECONDS, **barred,
        }  # fmt: skip
        claimable, lost, repeated, fresh, draining = map(bool, connection.execute(_LOOK, bound).one())
        lost = lost and now >= self.lenient_until
        return claimable and not draining, lost, repeated, fresh, draining

    def _seen(self, connection: sa.Connection, worker: str, device: str, slots: int, now: float) -> None:
        statement = self._insert(workers).values(
            name=worker, device=device, slots=slots, first_seen=now, last_seen=now
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[workers.c.name], set_={"device": device, "slots": slots, "last_seen": now}
            )
        )

    def _still_barred(self, connection: sa.Connection) -> dict[str, list[int]]:
        """The parameters that keep claims from what cannot be handed out. A spec that was mended is let in again."""
        if self._barred:
            rows = connection.execute(
                sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.id.in_(self._barred))
            )
            self._barred = {row.id for row in rows if self._stored(row.id, row.spec).error is not None}
        return {"barred": [0, *self._barred], "barred_trials": [0, *self._barred_trials]}

    def _repeated(self, connection: sa.Connection, attempt_id: int) -> Claim | None:
        """The claim of an attempt that runs; None where its experiment has become unreadable since."""
        try:
            return self._claim(connection, attempt_id)
        except _Unreadable:
            return None

    def _claim(self, connection: sa.Connection, attempt_id: int) -> Claim:
        """Raises _Unreadable."""
        row = connection.execute(_CLAIMED, {"which": attempt_id}).one()
        try:
            return self._made_claim(connection, attempt_id, row)
        except StoredSpecInvalid as error:
            raise _Unreadable(row.experiment_id, None, str(error)) from error
        except ValidationError as error:
            raise _Unreadable(row.experiment_id, row.id, str(error)) from error

    def _made_claim(self, connection: sa.Connection, attempt_id: int, row: Any) -> Claim:
        return Claim(
            attempt=attempt_id,
            token=row.token,
            lease_seconds=self.lease_seconds,
            experiment=row.experiment_id,
            trial=row._mapping["index"],
            spec=self._parsed(row.experiment_id, row.spec),
            candidate=Candidate(
                parameters=row.parameters,
                origin=row.origin,
                round=row.round,
                parent=row.parent,
                operators=tuple(row.operators),
            ),
            epochs=row.epochs,
            seed=row.seed,
            parent=self._parent(connection, row.experiment_id, row.parent),
            checkpoint=row.checkpoint,
        )

    def _parent(self, connection: sa.Connection, experiment_id: int, index: int | None) -> ParentTrial | None:
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
            artifacts=tuple(Artifact(kind=f.kind, digest=f.digest, size=f.size, name=f.name) for f in files),
        )

    def heartbeat(self, attempt_id: int, token: str) -> Heartbeat:
        """Renew the lease; whether the trial is to end early. Raises NotFound, StaleLease."""
        now = self.clock()
        with self._write() as connection:
            trial_id = self._hold(connection, attempt_id, token, now)
            row = connection.execute(
                sa.select(trials.c.stop_requested, experiments.c.state)
                .join(experiments, experiments.c.id == trials.c.experiment_id)
                .where(trials.c.id == trial_id)
            ).one()
            stop = row.stop_requested or row.state == ExperimentState.STOPPED
            return Heartbeat(stop=stop, lease_seconds=self.lease_seconds)

    def points(
        self, attempt_id: int, token: str, points: Sequence[CurvePoint] = (), log: Sequence[LogLine] = ()
    ) -> None:
        """Store curve points and log lines; repeating a report changes nothing. Also renews the lease. Raises NotFound, StaleLease."""
        now = self.clock()
        with self._write() as connection:
            trial_id = self._hold(connection, attempt_id, token, now)
            self._store_points(connection, attempt_id, points)
            if log:
                rows = [_line(attempt_id, line) for line in log]
                connection.execute(self._insert(log_lines).on_conflict_do_nothing(), rows)
            if points:
                trial = connection.execute(
                    sa.select(trials.c.experiment_id, trials.c.index).where(trials.c.id == trial_id)
                ).one()
                data = {"index": trial._mapping["index"], "epoch": max(point.epoch for point in points)}
                self._event(connection, trial.experiment_id, "points", data, now)

    def checkpoint(self, attempt_id: int, token: str, digest: str) -> None:
        """From where a later attempt can go on: an uploaded file. Raises NotFound, StaleLease."""
        now = self.clock()
        with self._write() as connection:
            trial_id = self._hold(connection, attempt_id, token, now)
            if digest not in hold(connection, [digest]):
                raise NotFound("artifact", digest)
            connection.execute(sa.update(trials).where(trials.c.id == trial_id).values(checkpoint=digest))

    def reap(self) -> int:
        """End the attempts whose lease ran out: their trials are queued again, or failed after limits.attempts. How many there were."""
        now = self.clock()
        if now < self.lenient_until:
            return 0
        expired = (attempts.c.state == AttemptState.RUNNING, attempts.c.expires_at < now)
        with self._read() as connection:
            identities = sorted(connection.execute(sa.select(attempts.c.id).where(*expired)).scalars())
        count = 0
        for identity in identities:
            with self._write() as connection:
                count += self._lose(connection, identity, now, expired)
        return count

    def _lose(self, connection: sa.Connection, attempt_id: int, now: float, expired: tuple[Any, ...]) -> int:
        row = connection.execute(
            sa.select(attempts).where(attempts.c.id == attempt_id, *expired).with_for_update()
        ).one_or_none()
        if row is None:
            return 0  # renewed, finished or reaped by somebody else in the meantime
        trial = connection.execute(TRIAL_OF, {"which": row.trial_id}).one()
        silent = now - row.heartbeat_at
        failure = Failure(
            kind=FailureKind.FAULT, message=f"worker {row.worker!r} was not heard of for {silent:.0f} s"
        )
        state = self._again(connection, trial, counted=True)
        connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == attempt_id)
            .values(state=AttemptState.LOST.value, ended_at=now, failure=failure.model_dump(mode="json"))
        )
        result = TrialResult(state=TrialState.FAILED, failure=failure)
        self._settle(connection, trial, state, now, result, {"attempt": attempt_id, "ending": "lost"})
        return 1

    def workers(self) -> list[WorkerView]:
        """The workers that were heard of in the last hour, by name."""
        now = self.clock()
        with self._read() as connection:
            held: dict[str, list[tuple[int, int]]] = {}
            heard: dict[str, float] = {}
            running = connection.execute(
                sa.select(attempts.c.worker, attempts.c.heartbeat_at, trials.c.experiment_id, trials.c.index)
                .join(trials, trials.c.id == attempts.c.trial_id)
                .where(attempts.c.state == AttemptState.RUNNING)
                .order_by(attempts.c.id)
            )
            for row in running:
                held.setdefault(row.worker, []).append((row.experiment_id, row._mapping["index"]))
                heard[row.worker] = max(heard.get(row.worker, 0.0), row.heartbeat_at)
            paused: dict[str | None, list[PauseView]] = {}
            for pause in self._pauses(connection):
                paused.setdefault(pause.worker, []).append(pause)
            found = []
            for row in connection.execute(sa.select(workers).order_by(workers.c.name)):
                last = max(row.last_seen, heard.get(row.name, 0.0))
                if now - last <= FORGET_WORKER_SECONDS or row.name in held:
                    found.append(
                        WorkerView(
                            name=row.name,
                            device=row.device,
                            slots=row.slots,
                            first_seen=moment(row.first_seen),
                            last_seen=moment(last),
                            draining=row.draining,
                            pauses=tuple(paused.get(row.name, ())),
                            alive=now - last <= max(self.lease_seconds, 3 * SEEN_EVERY_SECONDS),
                            trials=tuple(held.get(row.name, ())),
                        )
                    )
            return found


def _line(attempt_id: int, line: LogLine) -> dict[str, Any]:
    message = line.message.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL's text cannot hold it
    level = line.level.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    fingerprint = hashlib.sha256(f"{level}\n{message}".encode(errors="replace")).hexdigest()[:32]
    return {
        "attempt_id": attempt_id,
        "time": line.time,
        "level": level,
        "message": message,
        "fingerprint": fingerprint,
    }
