"""Retention: delete by age what nobody needs any more.

Artifacts: those of dominated trials, once their experiment has been over for a while. These stay: the files of the
front (or of the nearest misses while there is no front), of all ancestors of the front, of parents of trials that are
queued, running or can be retried, of trials with an export that waits or runs, and everything that the user keeps.
Checkpoints: those of trials that can never resume. Events, log lines and audit entries: by their age alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.schemas.exports import ExportState
from service.schemas.trials import AttemptState, ExperimentState
from service.store.files import Files
from service.store.front import Fronts
from service.store.retention_policy import DAY_SECONDS, Expired, Policy
from service.store.tables import (
    artifacts,
    attempts,
    audit,
    events,
    experiments,
    export_jobs,
    log_lines,
    models,
    trial_artifacts,
    trials,
)
from sparsemod.errors import InvalidInput, NotFound
from sparsemod.records import FailureKind, TrialState

_BATCH = 5000
"""Rows that one transaction deletes at most, so that no writer waits long."""

_PART = 500
"""Values in the list of one statement."""

_OVER = (ExperimentState.DONE.value, ExperimentState.FAILED.value)
_ACTIVE_EXPORTS = (ExportState.QUEUED.value, ExportState.RUNNING.value)


@dataclass(frozen=True)
class _Plan:
    """Trials of one experiment at `revision` whose files nobody needs: id -> index; and trials that lose only their
    checkpoint."""

    experiment: int
    revision: int
    whole: dict[int, int]
    checkpoints: dict[int, int]


class Retention(Files, Fronts):
    """Methods of the store that delete by age."""

    def expire(
        self, policy: Policy, remove: Callable[[str], object] | None, *, dry_run: bool = False
    ) -> Iterator[Expired]:
        """Apply `policy` step by step and yield what each step deleted. `remove` deletes the content of a file.

        With `dry_run`, nothing is deleted and `remove` is not called. Several processes may do this at once.
        """
        now = self.clock()
        if policy.artifacts is not None:
            limit = now - policy.artifacts * DAY_SECONDS
            for identity in self._over_since(limit):
                try:
                    plan = self._plan(identity, limit)
                    if plan is None:
                        continue
                    step = (
                        self._foresee(plan) if dry_run or remove is None else self._expire_files(plan, remove)
                    )
                except NotFound:
                    continue  # deleted meanwhile
                yield step
        if policy.events is not None:
            yield from self._expire_events(now - policy.events * DAY_SECONDS, dry_run)
        if policy.logs is not None:
            yield from self._expire_logs(now - policy.logs * DAY_SECONDS, dry_run)
        if policy.audit is not None:
            for count in self._drop_rows(audit, audit.c.time < now - policy.audit * DAY_SECONDS, dry_run):
                yield Expired(audit=count)

    def keep(self, experiment_id: int, kept: bool, indices: Sequence[int] | None = None) -> None:
        """Protect an experiment, or some of its trials, from retention; `kept=False` ends this. Raises NotFound."""
        now = self.clock()
        with self._write() as connection:
            if indices is None:
                change: Any = sa.update(experiments).where(experiments.c.id == experiment_id)
            else:
                for index in sorted(set(indices)):
                    self._trial_row(connection, experiment_id, index, lock=True)
                change = sa.update(trials).where(
                    trials.c.experiment_id == experiment_id, trials.c.index.in_(indices)
                )
            connection.execute(change.values(kept=kept))
            state = self._row(connection, experiment_id)["state"]
            data = {"state": state, "change": "kept" if kept else "not kept"}
            data |= {} if indices is None else {"trials": sorted(set(indices))}
            self._event(connection, experiment_id, "experiment", data, now)

    # -- artifacts --------------------------------------------------------------------------------------

    def _over_since(self, limit: float) -> list[int]:
        query = (
            sa.select(experiments.c.id)
            .where(
                experiments.c.state.in_(_OVER),
                experiments.c.finished_at < limit,
                experiments.c.kept.is_(sa.false()),
            )
            .order_by(experiments.c.id)
        )
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def _plan(self, identity: int, limit: float) -> _Plan | None:
        """Return what the experiment can lose, None when it is nothing.

        An experiment whose objectives are not known here, as after an update of the server, loses nothing.
        """
        with self._read() as connection:
            row = self._row(connection, identity)
            try:
                objectives, members, _, nearest = self._history(connection, row)
            except InvalidInput:
                return None
            if self._stored(identity, row["spec"]).error is not None or not objectives.names:
                return None
            columns = (
                trials.c.id, trials.c.index, trials.c.state, trials.c.parent, trials.c.failure_kind, trials.c.finished_at,
                trials.c.kept, trials.c.checkpoint,
            )  # fmt: skip
            rows = list(connection.execute(sa.select(*columns).where(trials.c.experiment_id == identity)))
            exporting = set(
                connection.execute(
                    sa.select(export_jobs.c.trial_id).where(
                        export_jobs.c.experiment_id == identity, export_jobs.c.state.in_(_ACTIVE_EXPORTS)
                    )
                ).scalars()
            )
            with_files = set(
                connection.execute(
                    sa.select(trial_artifacts.c.trial_id)
                    .join(trials, trials.c.id == trial_artifacts.c.trial_id)
                    .where(trials.c.experiment_id == identity)
                    .distinct()
                ).scalars()
            )
        parents = {one._mapping["index"]: one.parent for one in rows}
        needed = set(_lineage([*members, *(miss.index for miss in nearest)], parents))
        needed |= {one.parent for one in rows if one.parent is not None and (_can_run(one) or bool(one.kept))}
        whole, checkpoints = {}, {}
        for one in rows:
            index = one._mapping["index"]
            if _can_run(one) or one.finished_at is None or one.finished_at >= limit or one.kept:
                continue
            if index not in needed and one.id not in exporting and one.id in with_files:
                whole[one.id] = index
            elif one.checkpoint is not None:
                checkpoints[one.id] = index
        if not whole and not checkpoints:
            return None
        return _Plan(identity, row["events"], whole, checkpoints)

    def _expire_files(self, plan: _Plan, remove: Callable[[str], object]) -> Expired:
        """Delete the references of a plan, then the files that nothing refers to. Nothing is deleted when the
        experiment has changed since the plan: the next pass makes another one."""
        now = self.clock()
        digests: set[str] = set()
        with self._write() as connection:
            everything = sorted({*plan.whole, *plan.checkpoints})
            for part in _parts(everything):
                lock = sa.select(trials.c.id).where(trials.c.id.in_(part)).order_by(trials.c.id)
                connection.execute(lock.with_for_update()).all()
                # An export does not change the revision.
                busy = sa.select(export_jobs.c.id).where(
                    export_jobs.c.trial_id.in_(part), export_jobs.c.state.in_(_ACTIVE_EXPORTS)
                )
                if connection.execute(busy.limit(1)).scalar() is not None:
                    return Expired()
            fence = sa.select(experiments.c.state).where(
                experiments.c.id == plan.experiment,
                experiments.c.events == plan.revision,
                experiments.c.state.in_(_OVER),
                experiments.c.kept.is_(sa.false()),
            )
            state = connection.execute(fence.with_for_update()).scalar()
            if state is None:
                return Expired()
            digests = self._digests(connection, plan)
            for part in _parts(sorted(plan.whole)):
                connection.execute(sa.delete(trial_artifacts).where(trial_artifacts.c.trial_id.in_(part)))
                connection.execute(
                    sa.update(trials).where(trials.c.id.in_(part)).values(files_expired_at=now)
                )
            for part in _parts(everything):
                connection.execute(sa.update(trials).where(trials.c.id.in_(part)).values(checkpoint=None))
            data = {"state": state, "change": "expired", "trials": len(plan.whole)}
            self._event(connection, plan.experiment, "experiment", data, now)
        sizes = self._sizes(digests)
        self.drop(sorted(digests), remove)
        gone = digests - self.known_artifacts(sorted(digests))
        return Expired(
            trials=len(plan.whole), files=len(gone), bytes=sum(sizes.get(digest, 0) for digest in gone),
            by_experiment={plan.experiment: sorted(plan.whole.values())},
        )  # fmt: skip

    def _foresee(self, plan: _Plan) -> Expired:
        """Return what `_expire_files` would delete, except for files that were promised to an uploader."""
        losing = {*plan.whole, *plan.checkpoints}
        with self._read() as connection:
            digests = self._digests(connection, plan)
            used: set[str] = set()
            for part in _parts(sorted(digests)):
                others = sa.select(trial_artifacts.c.digest, trial_artifacts.c.trial_id)
                for digest, trial in connection.execute(others.where(trial_artifacts.c.digest.in_(part))):
                    used |= set() if trial in plan.whole else {digest}
                saved = sa.select(trials.c.checkpoint, trials.c.id).where(trials.c.checkpoint.in_(part))
                used |= {digest for digest, trial in connection.execute(saved) if trial not in losing}
                used |= set(
                    connection.execute(sa.select(models.c.digest).where(models.c.digest.in_(part))).scalars()
                )
        gone = digests - used
        return Expired(
            trials=len(plan.whole), files=len(gone), bytes=sum(self._sizes(gone).values()),
            by_experiment={plan.experiment: sorted(plan.whole.values())},
        )  # fmt: skip

    def _digests(self, connection: sa.Connection, plan: _Plan) -> set[str]:
        """Return the digests of the files to which the plan deletes references."""
        found: set[str] = set()
        for part in _parts(sorted(plan.whole)):
            used = sa.select(trial_artifacts.c.digest).where(trial_artifacts.c.trial_id.in_(part))
            found.update(connection.execute(used).scalars())
        for part in _parts(sorted({*plan.whole, *plan.checkpoints})):
            saved = sa.select(trials.c.checkpoint).where(
                trials.c.id.in_(part), trials.c.checkpoint.is_not(None)
            )
            found.update(connection.execute(saved).scalars())
        return found

    def _sizes(self, digests: Iterable[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        with self._read() as connection:
            for part in _parts(sorted(digests)):
                query = sa.select(artifacts.c.digest, artifacts.c.size).where(artifacts.c.digest.in_(part))
                sizes.update({digest: size for digest, size in connection.execute(query)})
        return sizes

    # -- entries ----------------------------------------------------------------------------------------

    def _expire_events(self, limit: float, dry_run: bool) -> Iterator[Expired]:
        """Delete the oldest events of each experiment: those before the first one that is young enough."""
        with self._read() as connection:
            old = sa.select(events.c.experiment_id).where(events.c.time < limit).distinct()
            identities = sorted(connection.execute(old).scalars())
        for identity in identities:
            mine = events.c.experiment_id == identity
            with self._read() as connection:
                query = sa.select(experiments.c.events, experiments.c.kept).where(
                    experiments.c.id == identity
                )
                row = connection.execute(query).one_or_none()
                young = sa.select(events.c.counter).where(mine, events.c.time >= limit)
                first = connection.execute(young.order_by(events.c.counter).limit(1)).scalar()
                newest = 0 if row is None else row.events
                last = (first if first is not None else newest + 1) - 1
                oldest = connection.execute(sa.select(sa.func.min(events.c.counter)).where(mine)).scalar()
            if row is None or row.kept or oldest is None or oldest > last:
                continue
            if dry_run:
                yield Expired(events=last - oldest + 1)
                continue
            for start in range(oldest, last + 1, _BATCH):
                upto = min(start + _BATCH - 1, last)
                with self._write() as connection:
                    dropped = sa.update(experiments).where(
                        experiments.c.id == identity, experiments.c.events_dropped < upto
                    )
                    connection.execute(dropped.values(events_dropped=upto))
                    gone = connection.execute(sa.delete(events).where(mine, events.c.counter <= upto))
                yield Expired(events=gone.rowcount)

    def _expire_logs(self, limit: float, dry_run: bool) -> Iterator[Expired]:
        """Delete the log lines of attempts that ended before `limit`."""
        old = (
            sa.select(attempts.c.id)
            .join(trials, trials.c.id == attempts.c.trial_id)
            .join(experiments, experiments.c.id == trials.c.experiment_id)
            .where(
                attempts.c.state != AttemptState.RUNNING.value,
                attempts.c.ended_at < limit,
                trials.c.kept.is_(sa.false()),
                experiments.c.kept.is_(sa.false()),
            )
        )
        lines = log_lines.c.attempt_id.in_(old)
        for count in self._drop_rows(log_lines, lines, dry_run):
            yield Expired(log_lines=count)

    def _drop_rows(self, table: sa.Table, old: sa.ColumnElement[bool], dry_run: bool) -> Iterator[int]:
        """Delete the rows that meet a condition, in batches; yield the number of each."""
        if dry_run:
            with self._read() as connection:
                yield connection.execute(sa.select(sa.func.count()).where(old)).scalar_one()
            return
        while True:
            with self._read() as connection:
                batch = list(connection.execute(sa.select(table.c.id).where(old).limit(_BATCH)).scalars())
            if not batch:
                return
            with self._write() as connection:
                count = connection.execute(sa.delete(table).where(table.c.id.in_(batch))).rowcount
            yield count


def _can_run(row: Any) -> bool:
    """Return whether a trial runs, will run, or may be retried. It may need its checkpoint and its parent."""
    state = TrialState(row.state)
    retryable = state is TrialState.FAILED and row.failure_kind != FailureKind.INVALID.value
    return not state.finished or retryable


def _lineage(indices: Iterable[int], parents: dict[int, int | None]) -> Iterator[int]:
    """Yield trials and all their ancestors."""
    seen: set[int] = set()
    for start in indices:
        index: int | None = start
        while index is not None and index not in seen:
            seen.add(index)
            yield index
            index = parents.get(index)


def _parts(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _PART):
        yield list(values[start : start + _PART])
