"""Experiments: create, list, stop, resume, extend, end."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import (
    AttemptState,
    Event,
    ExperimentState,
    ExperimentSummary,
    ExperimentView,
    PauseView,
)
from service.store.engine import Row, moment, moment_or_none
from service.store.limits import effective_limits
from service.store.pauses import pause_of
from service.store.progress import Counts, counts_query, pace, progress, totals
from service.store.quotas import Quotas
from service.store.tables import attempts, deletions, events, experiments, measurements, trials, workers
from service.store.trial_rows import NOT_ON_TEST
from sparsemod.errors import Conflict, InvalidInput, InvalidSpec, NotFound
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.extension import extended

SILENT_SECONDS = 15.0
"""Seconds without a claim after which an idle worker counts as gone."""

NEW_SPEC = ("extended", "mended")
"""Changes of an experiment after which its spec is another one."""


class Experiments(Quotas):
    """Methods of the store for experiments and their events."""

    def create_experiment(
        self, spec: ExperimentSpec, key: str | None = None, owner: str | None = None
    ) -> ExperimentView:
        """Store a new experiment. A repeated `key` returns the experiment that it created.

        Raises Conflict when `key` was used with another spec or owner, QuotaExceeded.
        """
        data = spec.to_dict()
        now = self.clock()
        with self._write() as connection:
            earlier = self._known_request(connection, key, "create", [owner, data])
            if earlier is not None:
                return self._experiment(connection, earlier["experiment_id"])
            self._check_quota(connection, owner, "experiments")
            self._check_quota(connection, owner, "disk")
            identity = connection.execute(
                sa.insert(experiments)
                .values(
                    **self._number(connection), name=spec.name, owner=owner, state=ExperimentState.RUNNING.value, spec=data, spec_version=1, created_at=now, updated_at=now,
                    next_index=0, events=0,
                )
                .returning(experiments.c.id)
            ).scalar_one()  # fmt: skip
            self._remember_request(connection, key, "create", [owner, data], identity, None, now)
            self._event(connection, identity, "experiment", {"state": "running", "change": "created"}, now)
            return self._experiment(connection, identity)

    def _number(self, connection: sa.Connection) -> dict[str, int]:
        """Return the next experiment's id as a column value on SQLite, which would reuse the id of a deleted
        experiment."""
        if self._postgres:
            return {}
        highest = [
            connection.execute(sa.select(sa.func.max(column))).scalar() or 0
            for column in (experiments.c.id, deletions.c.experiment_id)
        ]
        return {"id": max(highest) + 1}

    def experiment(self, experiment_id: int) -> ExperimentView:
        """Return an experiment. Raises NotFound."""
        with self._read() as connection:
            return self._experiment(connection, experiment_id)

    def valid_spec(self, experiment_id: int) -> ExperimentSpec:
        """Return an experiment's spec. Raises NotFound, StoredSpecInvalid."""
        with self._read() as connection:
            return self._parsed(experiment_id, self._row(connection, experiment_id)["spec"])

    def experiments(
        self, limit: int = 100, offset: int = 0, state: ExperimentState | None = None
    ) -> tuple[list[ExperimentSummary], int]:
        """Return a page of experiments, newest first, and the number of matches.

        `state` filters when it is given.
        """
        query = sa.select(experiments)
        if state is not None:
            query = query.where(experiments.c.state == state.value)
        with self._read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            rows = connection.execute(
                query.order_by(experiments.c.id.desc()).limit(limit).offset(offset)
            ).mappings()
            page = list(rows)
            counts = self._counts(connection, [row["id"] for row in page])
            pauses = self._pauses(connection)
            return [
                ExperimentSummary(
                    **self._summary(row, counts[row["id"]]),
                    paused=self._why_paused(connection, row, pauses),
                    trials_per_minute=pace(connection, row["id"]),
                )
                for row in page
            ], total

    def active_experiments(self) -> list[int]:
        """Return the ids of the running experiments, which need suggestions, oldest first."""
        with self._read() as connection:
            query = (
                sa.select(experiments.c.id)
                .where(experiments.c.state == ExperimentState.RUNNING)
                .order_by(experiments.c.id)
            )
            return list(connection.execute(query).scalars())

    def stop(self, experiment_id: int) -> ExperimentView:
        """Stop handing out trials. Running trials are asked to stop and are queued again.

        Raises NotFound, Conflict when the experiment is over.
        """
        return self._change(
            experiment_id, ExperimentState.STOPPED, (ExperimentState.RUNNING,), "stopped by the user"
        )

    def resume(self, experiment_id: int) -> ExperimentView:
        """Continue after a stop and remove all pauses that affect the experiment.

        Raises NotFound, Conflict when the experiment is over.
        """
        view = self._change(experiment_id, ExperimentState.RUNNING, (ExperimentState.STOPPED,), None)
        if not self.pauses():
            return view
        now = self.clock()
        with self._write() as connection:
            count = self._unpause(connection, None, None, experiment_id)
            # A pause for all experiments affects this one too.
            for pause in self._pauses(connection):
                if pause.experiment is None:
                    count += self._unpause(
                        connection, "space" if pause.worker is None else None, pause.worker, None
                    )
            if count:
                self._event(
                    connection, experiment_id, "experiment", {"state": "running", "paused": None}, now
                )
            return self._experiment(connection, experiment_id)

    def finish_experiment(
        self, experiment_id: int, state: ExperimentState, reason: str, revision: int | None = None
    ) -> ExperimentView:
        """End an experiment as done or failed. Queued trials become stopped, running ones may finish.

        `revision` is the revision that the decision is based on. A trial that the user attached since then
        would be stopped unseen, so a newer revision raises Conflict. Raises NotFound, Conflict, InvalidInput
        for another `state`.
        """
        if state not in (ExperimentState.DONE, ExperimentState.FAILED):
            raise InvalidInput("state", state.value, "done or failed")
        return self._change(experiment_id, state, (ExperimentState.RUNNING,), reason, revision)

    def _change(
        self,
        experiment_id: int,
        state: ExperimentState,
        sources: tuple[ExperimentState, ...],
        reason: str | None,
        revision: int | None = None,
    ) -> ExperimentView:
        over = state in (ExperimentState.DONE, ExperimentState.FAILED)
        now = self.clock()
        with self._write() as connection:
            # Trials are locked before their experiment. A Conflict below rolls this back.
            cancelled = self._cancel_queue(connection, experiment_id, now) if over else []
            update = sa.update(experiments).where(
                experiments.c.id == experiment_id, experiments.c.state.in_([s.value for s in sources])
            )
            if revision is not None:
                update = update.where(experiments.c.events == revision)
            changed = connection.execute(
                update.values(state=state.value, reason=reason, finished_at=now if over else None)
            )
            if changed.rowcount == 0:
                view = self._experiment(connection, experiment_id)
                if view.state is state:
                    return view  # a repeated request
                if view.state in sources:
                    raise Conflict(
                        f"experiment {experiment_id} has changed: its revision is {view.revision}, expected {revision}"
                    )
                raise Conflict(f"experiment {experiment_id} is {view.state}, so it cannot become {state}")
            for trial_id, index in cancelled:
                counter = self._event(
                    connection, experiment_id, "trial", {"index": index, "state": "stopped"}, now
                )
                connection.execute(
                    sa.update(trials).where(trials.c.id == trial_id).values(finished_event=counter)
                )
            self._event(
                connection, experiment_id, "experiment", {"state": state.value, "reason": reason}, now
            )
            return self._experiment(connection, experiment_id)

    def _cancel_queue(
        self, connection: sa.Connection, experiment_id: int, now: float
    ) -> list[tuple[int, int]]:
        """Stop the queued trials of an experiment and return their (id, index)."""
        rows = connection.execute(
            sa.update(trials)
            .where(trials.c.experiment_id == experiment_id, trials.c.state == TrialState.QUEUED)
            .values(
                state=TrialState.STOPPED.value,
                finished_at=now,
                notes=["the experiment ended before the trial started"],
            )
            .returning(trials.c.id, trials.c.index)
        )
        return sorted((row.id, row._mapping["index"]) for row in rows)

    def extend(
        self,
        experiment_id: int,
        rounds: Mapping[str, int],
        budgets: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> ExperimentView:
        """Add trials (round -> number to add) and change budgets (metric -> limit; None removes it).

        An experiment that was done runs again. The reference point does not change, so hypervolumes stay
        comparable. Raises NotFound, InvalidInput when nothing would change, InvalidSpec, Conflict.
        """
        body = {"rounds": dict(rounds), "budgets": None if budgets is None else dict(budgets)}
        if not any(rounds.values()) and not budgets:
            raise InvalidInput("rounds", body["rounds"], "more trials for a round, or other budgets")
        now = self.clock()
        with self._write() as connection:
            earlier = self._known_request(connection, key, f"extend {experiment_id}", body)
            if earlier is not None:
                return self._experiment(connection, experiment_id)
            lock = sa.select(experiments).where(experiments.c.id == experiment_id).with_for_update()
            row = connection.execute(lock).mappings().one_or_none()
            if row is None:
                raise NotFound("experiment", experiment_id)
            if row["state"] == ExperimentState.FAILED and not budgets:
                raise Conflict(
                    f"experiment {experiment_id} has failed ({row['reason']}): only other budgets can help"
                )
            spec = extended(self._parsed(experiment_id, row["spec"]), rounds, budgets)
            over = row["state"] in (ExperimentState.DONE, ExperimentState.FAILED)
            state = ExperimentState.RUNNING.value if over else row["state"]
            connection.execute(
                sa.update(experiments)
                .where(experiments.c.id == experiment_id)
                .values(
                    spec=spec.to_dict(), spec_version=row["spec_version"] + 1, state=state, finished_at=None,
                    reason=None if over else row["reason"],
                )
            )  # fmt: skip
            self._remember_request(connection, key, f"extend {experiment_id}", body, experiment_id, None, now)
            self._event(
                connection, experiment_id, "experiment", {"state": state, "change": "extended", **body}, now
            )
            return self._experiment(connection, experiment_id)

    def mend(self, experiment_id: int, spec: ExperimentSpec) -> ExperimentView:
        """Replace a stored spec that does not validate.

        A failed experiment runs again. Its trials do not change. Repeating the request changes nothing.
        Raises NotFound, Conflict when the stored spec is valid, InvalidSpec for an objective without values.
        """
        now = self.clock()
        with self._write() as connection:
            lock = sa.select(experiments).where(experiments.c.id == experiment_id).with_for_update()
            row = connection.execute(lock).mappings().one_or_none()
            if row is None:
                raise NotFound("experiment", experiment_id)
            stored = self._stored(experiment_id, row["spec"])
            if stored.error is None and stored.spec == spec:
                return self._experiment(connection, experiment_id)
            if stored.error is None:
                raise Conflict(f"the stored spec of experiment {experiment_id} is valid; `extend` changes it")
            self._check_measured(connection, experiment_id, spec)
            failed = row["state"] == ExperimentState.FAILED
            state = ExperimentState.RUNNING.value if failed else row["state"]
            change: dict[str, Any] = {"state": state, "spec": spec.to_dict()}
            if failed:
                change |= {"reason": None, "finished_at": None}
            connection.execute(
                sa.update(experiments)
                .where(experiments.c.id == experiment_id)
                .values(spec_version=row["spec_version"] + 1, **change)
            )
            self._event(connection, experiment_id, "experiment", {"state": state, "change": "mended"}, now)
            return self._experiment(connection, experiment_id)

    def _check_measured(self, connection: sa.Connection, experiment_id: int, spec: ExperimentSpec) -> None:
        """Raise InvalidSpec for an objective that some completed trial has no value of."""
        completed = sa.select(trials.c.id).where(
            trials.c.experiment_id == experiment_id, trials.c.state == TrialState.COMPLETED
        )
        total = connection.execute(sa.select(sa.func.count()).select_from(completed.subquery())).scalar_one()
        counts = sa.select(measurements.c.metric, sa.func.count(measurements.c.trial_id.distinct()))
        counts = counts.where(measurements.c.trial_id.in_(completed), NOT_ON_TEST)
        measured = {name: count for name, count in connection.execute(counts.group_by(measurements.c.metric))}
        for place, name in enumerate(spec.objectives):
            if measured.get(name, 0) < total:
                measured_names = ", ".join(sorted(name for name, count in measured.items() if count == total))
                raise InvalidSpec(
                    f"objectives.{place}", name, f"a metric that all completed trials have: {measured_names}"
                )

    def events(self, experiment_id: int, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return up to `limit` events with a counter above `after`, oldest first. Raises NotFound."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(events)
                .where(events.c.experiment_id == experiment_id, events.c.counter > after)
                .order_by(events.c.counter)
                .limit(limit)
            ).mappings()
            page = [
                Event(counter=row["counter"], time=moment(row["time"]), kind=row["kind"], data=row["data"])
                for row in rows
            ]
            if not page:
                self._row(connection, experiment_id)
            return page

    # -- shared with other classes of the store ---------------------------------------------------------

    def _row(self, connection: sa.Connection, experiment_id: int) -> Row:
        row = (
            connection.execute(sa.select(experiments).where(experiments.c.id == experiment_id))
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise NotFound("experiment", experiment_id)
        return row

    def _experiment(self, connection: sa.Connection, experiment_id: int) -> ExperimentView:
        row = self._row(connection, experiment_id)
        counts = self._counts(connection, [experiment_id])[experiment_id]
        stored = self._stored(row["id"], row["spec"])
        limits = effective_limits(stored.spec)
        return ExperimentView(
            **self._summary(row, counts),
            paused=self._why_paused(connection, row, self._pauses(connection)),
            trials_per_minute=pace(connection, experiment_id),
            spec=stored.spec,
            stored_spec=None if stored.error is None else row["spec"],
            budgets=limits.budgets,
            reference_point=limits.reference,
            scales=limits.scales,
        )

    def _why_paused(self, connection: sa.Connection, row: Row, pauses: list[PauseView]) -> str | None:
        """Return the reason why a running experiment makes no progress, None when it can."""
        if not pauses or row["state"] != ExperimentState.RUNNING:
            return None
        claiming = sa.select(workers.c.name).where(
            workers.c.last_seen > self.clock() - max(self.lease_seconds, SILENT_SECONDS),
            workers.c.draining.is_(sa.false()),
        )
        working = sa.select(attempts.c.worker).where(attempts.c.state == AttemptState.RUNNING)
        alive = set(connection.execute(claiming.union(working)).scalars())
        return pause_of(row["id"], pauses, alive)

    def _summary(self, row: Row, counts: Counts) -> dict[str, Any]:
        stored = self._stored(row["id"], row["spec"])
        return {
            "id": row["id"],
            "name": row["name"],
            "owner": row["owner"],
            "state": ExperimentState(row["state"]),
            "reason": row["reason"],
            "spec_error": None if stored.error is None else str(stored.error),
            "objectives": stored.spec.objectives,
            "counts": totals(counts),
            "rounds": progress(stored.spec.source, counts),
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
            "finished_at": moment_or_none(row["finished_at"]),
            "kept": bool(row["kept"]),
            "revision": row["events"],
        }

    def _counts(self, connection: sa.Connection, identities: list[int]) -> dict[int, Counts]:
        counts: dict[int, Counts] = {identity: {} for identity in identities}
        for identity, round_name, state, count, missed in connection.execute(counts_query(identities)):
            counts[identity][round_name, state] = (count, int(missed))
        return counts
