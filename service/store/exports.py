"""Exports on request: the queue of jobs, the server process that runs each job, and the resulting files.

A job is one trial in some formats. Any server may claim a queued job by a conditional UPDATE, with a token
and a lease as for attempts. A server that stops renewing loses the job. A result under an old token raises
StaleLease and changes nothing. The state of the trial does not change.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.schemas.exports import ExportState
from service.store.engine import Base
from service.store.files import lock_files
from service.store.tables import export_jobs, trial_artifacts, trials
from sparsemod.errors import Conflict, NotFound, StaleLease
from sparsemod.export.report import FormatName
from sparsemod.records import Artifact

MAX_WAITING = 100
"""Number of requests that may wait. A request is for one trial or for a whole front."""

MOST_ATTEMPTS = 3
"""Attempts at an export that crashes its process or its server each time."""

_ACTIVE = (ExportState.QUEUED.value, ExportState.RUNNING.value)
_QUEUE_LOCK = 0x73706D65  # arbitrary constant

_WAITING = (
    sa.select(export_jobs.c.id)
    .where(export_jobs.c.state == ExportState.QUEUED.value)
    # Jobs that crashed before come last.
    .order_by(export_jobs.c.attempts, export_jobs.c.id)
    .limit(1)
)
_LOST = (
    export_jobs.c.state == ExportState.RUNNING.value,
    export_jobs.c.expires_at < sa.bindparam("now"),
)
_LOOK = sa.select(_WAITING.exists(), sa.select(export_jobs.c.id).where(*_LOST).exists())
_TAKE, _TAKE_SKIPPING_LOCKED = (
    sa.update(export_jobs)
    .where(export_jobs.c.id == chosen.scalar_subquery(), export_jobs.c.state == ExportState.QUEUED.value)
    .values(
        state=ExportState.RUNNING.value,
        attempts=export_jobs.c.attempts + 1,
        server=sa.bindparam("by"),
        token=sa.bindparam("fence"),
        heartbeat_at=sa.bindparam("now"),
        expires_at=sa.bindparam("until"),
    )
    .returning(export_jobs)
    for chosen in (_WAITING, _WAITING.with_for_update(skip_locked=True))
)


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export that this process holds until its lease expires.

    `trial`: the index. `device`: the device to fit. `name`: the model's name, None for the default.
    """

    id: int
    token: str
    experiment: int
    trial: int
    formats: tuple[FormatName, ...]
    device: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """State of the newest request for one format of a trial.

    `failure`: why it failed without writing a report.
    """

    state: ExportState
    failure: str | None


class ExportJobs(Base):
    """Methods of the store for exports."""

    def queue_exports(
        self,
        experiment_id: int,
        indices: Sequence[int],
        formats: Sequence[FormatName],
        device: str,
        names: Mapping[int, str] | None = None,
    ) -> None:
        """Queue exports. A format of a trial that is queued or running already is not queued again.

        `names`: index -> the model's name, where it differs from the default. Raises NotFound, Conflict when
        MAX_WAITING requests wait.
        """
        request = secrets.token_hex(16)
        with self._write() as connection:
            if self._postgres:  # SQLite allows one writer only
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_QUEUE_LOCK)))
            identities = self._lock_trials(connection, experiment_id, indices)
            known: dict[int, list[Any]] = {}
            mine = export_jobs.c.trial_id.in_(identities.values())
            for row in connection.execute(
                sa.select(export_jobs).where(mine).order_by(export_jobs.c.id.desc())
            ):
                known.setdefault(row.trial_id, []).append(row)
            jobs: list[dict[str, Any]] = []
            outdated: list[int] = []
            for index in dict.fromkeys(indices):
                earlier = known.get(identities[index], [])
                active = {name for row in earlier if row.state in _ACTIVE for name in row.formats}
                to_queue = [name for name in dict.fromkeys(formats) if name not in active]
                if not to_queue:
                    continue
                jobs.append({
                    "experiment_id": experiment_id, "trial_id": identities[index], "request": request, "formats": to_queue,
                    "device": device, "state": ExportState.QUEUED.value, "attempts": 0, "created_at": self.clock(),
                    "name": (names or {}).get(index),
                })  # fmt: skip
                outdated += _outdated(earlier, to_queue)
            if not jobs:
                return
            waiting = connection.execute(
                sa.select(sa.func.count(export_jobs.c.request.distinct())).where(
                    export_jobs.c.state == ExportState.QUEUED
                )
            ).scalar_one()
            if waiting >= MAX_WAITING:
                raise Conflict(f"{MAX_WAITING} export requests are waiting already; try again later")
            connection.execute(sa.delete(export_jobs).where(export_jobs.c.id.in_(outdated)))
            connection.execute(sa.insert(export_jobs), jobs)

    def exports(
        self, experiment_id: int, index: int | None = None
    ) -> dict[tuple[int, FormatName], ExportRecord]:
        """Return the requested exports of one trial or of all, by (trial index, format)."""
        query = (
            sa.select(export_jobs, trials.c.index.label("trial"))
            .join(trials, trials.c.id == export_jobs.c.trial_id)
            .where(export_jobs.c.experiment_id == experiment_id)
            .order_by(export_jobs.c.id)
        )
        if index is not None:
            query = query.where(trials.c.index == index)
        records = {}
        with self._read() as connection:
            for row in connection.execute(query):
                state = ExportState(row.state)
                failure = row.failure if state is ExportState.FAILED else None
                records.update({(row.trial, name): ExportRecord(state, failure) for name in row.formats})
        return records

    def exported_trials(self, experiment_id: int, after: int, limit: int) -> list[int]:
        """Return the indices of the first `limit` trials above `after` with a requested or stored export."""
        requested = sa.select(export_jobs.c.trial_id).where(export_jobs.c.experiment_id == experiment_id)
        stored = sa.select(trial_artifacts.c.trial_id).where(
            trial_artifacts.c.trial_id == trials.c.id, trial_artifacts.c.kind.like("verification.%")
        )
        query = (
            sa.select(trials.c.index)
            .where(
                trials.c.experiment_id == experiment_id,
                trials.c.index > after,
                sa.or_(trials.c.id.in_(requested), stored.exists()),
            )
            .order_by(trials.c.index)
            .limit(limit)
        )
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def claim_export(self, server: str) -> ExportJob | None:
        """Claim the export that has waited longest for `server`. Return None when none waits."""
        now = self.clock()
        with self._read() as connection:
            waiting, lost = connection.execute(_LOOK, {"now": now}).one()
        if lost:
            self.reap_exports()
        elif not waiting:  # servers poll often: do not take the write lock
            return None
        with self._write() as connection:
            bound = {
                "by": server, "fence": secrets.token_hex(16), "now": now, "until": now + self.lease_seconds,
            }  # fmt: skip
            row = connection.execute(_TAKE_SKIPPING_LOCKED if self._postgres else _TAKE, bound).one_or_none()
            if row is None:
                return None
            index = connection.execute(
                sa.select(trials.c.index).where(trials.c.id == row.trial_id)
            ).scalar_one()
            return ExportJob(
                row.id, row.token, row.experiment_id, index, tuple(row.formats), row.device, row.name
            )

    def renew_export(self, job: ExportJob) -> None:
        """Extend the lease. Raises NotFound, StaleLease."""
        now = self.clock()
        with self._write() as connection:
            self._change_export(connection, job, heartbeat_at=now, expires_at=now + self.lease_seconds)

    def finish_export(self, job: ExportJob, files: Sequence[Artifact]) -> None:
        """Finish a job.

        Its stored files become artifacts of the trial and replace all earlier artifacts of the same kinds.
        Raises NotFound for an unknown job or a file that is not stored, StaleLease.
        """
        now = self.clock()
        with self._write() as connection:
            trial_id = self._change_export(
                connection, job, state=ExportState.DONE.value, ended_at=now, failure=None
            )
            # Trials are locked before their experiment (see Base).
            connection.execute(sa.select(trials.c.id).where(trials.c.id == trial_id).with_for_update())
            stored = lock_files(connection, [file.digest for file in files])
            for file in files:
                if file.digest not in stored:
                    raise NotFound("artifact", file.digest)
            # Delete first: an export under another name would otherwise leave the earlier files in place.
            replaced = trial_artifacts.c.kind.in_({file.kind for file in files})
            connection.execute(
                sa.delete(trial_artifacts).where(trial_artifacts.c.trial_id == trial_id, replaced)
            )
            for file in files:
                row = self._insert(trial_artifacts).values(trial_id=trial_id, **file.model_dump(mode="json"))
                key = [trial_artifacts.c.trial_id, trial_artifacts.c.kind, trial_artifacts.c.name]
                changes = {"digest": file.digest, "size": file.size}
                connection.execute(row.on_conflict_do_update(index_elements=key, set_=changes))
            self._event(connection, job.experiment, "trial", {"index": job.trial, "files": len(files)}, now)

    def fail_export(self, job: ExportJob, why: str, *, again: bool) -> None:
        """Record a failed attempt. With `again` the job is queued again unless this was the last attempt.

        Raises NotFound, StaleLease.
        """
        now = self.clock()
        with self._write() as connection:
            row = connection.execute(
                sa.select(export_jobs).where(export_jobs.c.id == job.id).with_for_update()
            ).one_or_none()
            if row is None or row.token != job.token or row.state != ExportState.RUNNING:
                raise self._stale_export(job, row)
            self._give_up(connection, row, job.trial, why, again=again, now=now)

    def release_export(self, job: ExportJob) -> None:
        """Queue a job again without counting the attempt. Do nothing when another server holds it."""
        with self._write() as connection:
            connection.execute(
                sa.update(export_jobs)
                .where(*_holder_condition(job))
                .values(state=ExportState.QUEUED.value, attempts=export_jobs.c.attempts - 1, token=None)
            )

    def reap_exports(self) -> int:
        """End the attempts with an expired lease and return their number.

        Their jobs are queued again or fail.
        """
        now = self.clock()
        with self._read() as connection:
            lost = sa.select(export_jobs.c.id).where(*_LOST).order_by(export_jobs.c.id)
            identities = list(connection.execute(lost, {"now": now}).scalars())
        count = 0
        for identity in identities:
            with self._write() as connection:
                lock = sa.select(export_jobs).where(export_jobs.c.id == identity, *_LOST).with_for_update()
                row = connection.execute(lock, {"now": now}).one_or_none()
                if row is None:
                    continue  # renewed, finished or reaped concurrently
                index = connection.execute(
                    sa.select(trials.c.index).where(trials.c.id == row.trial_id)
                ).scalar_one()
                why = f"server {row.server!r}, which ran it, sent nothing for {now - row.heartbeat_at:.0f} s"
                self._give_up(connection, row, index, why, again=True, now=now)
                count += 1
        return count

    # -- private ----------------------------------------------------------------------------------------

    def _lock_trials(
        self, connection: sa.Connection, experiment_id: int, indices: Sequence[int]
    ) -> dict[int, int]:
        """Return the trials' ids by index and lock them against deletion until the transaction ends.

        Raises NotFound.
        """
        rows = connection.execute(
            sa.select(trials.c.index, trials.c.id)
            .where(trials.c.experiment_id == experiment_id, trials.c.index.in_(indices))
            .order_by(trials.c.id)
            .with_for_update(read=True, key_share=True)
        )
        identities = {index: identity for index, identity in rows}
        for index in indices:
            if index not in identities:
                raise NotFound("trial", index, f"experiment {experiment_id}")
        return identities

    def _change_export(self, connection: sa.Connection, job: ExportJob, **values: Any) -> int:
        """Change a job that this process still holds, lock it, and return the trial's id.

        Raises NotFound, StaleLease.
        """
        changed = connection.execute(
            sa.update(export_jobs)
            .where(*_holder_condition(job))
            .values(**values)
            .returning(export_jobs.c.trial_id)
        ).scalar()
        if changed is None:
            query = sa.select(export_jobs).where(export_jobs.c.id == job.id)
            raise self._stale_export(job, connection.execute(query).one_or_none())
        return int(changed)

    def _stale_export(self, job: ExportJob, row: Any) -> NotFound | StaleLease:
        if row is None:
            return NotFound("export job", job.id)
        why = "the token does not match" if row.token != job.token else f"it has ended: {row.state}"
        return StaleLease(f"export job {job.id}: {why}; nothing was changed")

    def _give_up(
        self, connection: sa.Connection, row: Any, index: int, why: str, *, again: bool, now: float
    ) -> None:
        why = why.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:2000]  # PostgreSQL's text cannot store NUL
        change: dict[str, Any] = {"state": ExportState.QUEUED.value, "token": None, "failure": why}
        if not again or row.attempts >= MOST_ATTEMPTS:
            times = f"; given up after {row.attempts} attempts" if row.attempts > 1 else ""
            change |= {"state": ExportState.FAILED.value, "ended_at": now, "failure": why + times}
        connection.execute(sa.update(export_jobs).where(export_jobs.c.id == row.id).values(**change))
        if change["state"] == ExportState.FAILED.value:
            self._event(connection, row.experiment_id, "trial", {"index": index, "files": 0}, now)


def _holder_condition(job: ExportJob) -> tuple[Any, ...]:
    return (
        export_jobs.c.id == job.id,
        export_jobs.c.token == job.token,
        export_jobs.c.state == ExportState.RUNNING.value,
    )


def _outdated(earlier: Sequence[Any], formats: Collection[str]) -> list[int]:
    """Return the ids of finished jobs whose formats newer jobs or `formats` cover.

    `earlier`: a trial's jobs, newest first.
    """
    covered, outdated = set(formats), []
    for row in earlier:
        if row.state not in _ACTIVE and covered.issuperset(row.formats):
            outdated.append(row.id)
        covered.update(row.formats)
    return outdated
