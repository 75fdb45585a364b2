"""Methods for the suggester: the lease on an experiment, the trials that the search reads, and the queue."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import ExperimentState, TrialView
from service.store.experiments import Experiments
from service.store.tables import experiments, requests, suggesters, trial_artifacts, trials
from service.store.trial_rows import (
    CANDIDATE,
    add_measurements,
    new_view,
    observation,
    standard_errors_by_trial,
    values_by_trial,
)
from service.store.trials import Trials
from sparsemod.errors import Conflict, NotFound, StaleLease
from sparsemod.pipeline.problem import trial_seed
from sparsemod.records import Candidate, TrialResult, TrialState, Value
from sparsemod.sources.base import MANUAL
from sparsemod.sources.observation import Observation, Suggestion

__all__ = ["SuggesterLease", "Suggestions"]


@dataclass(frozen=True, slots=True)
class SuggesterLease:
    """The right to queue trials of an experiment until the lease expires."""

    experiment: int
    holder: str
    token: str


# Built once, see service.store.engine.
_LOCK = sa.select(experiments).where(experiments.c.id == sa.bindparam("which")).with_for_update()
_ADD_TRIAL = sa.insert(trials).returning(trials.c.id)
_SET_EXPERIMENT = sa.update(experiments).where(experiments.c.id == sa.bindparam("which"))


class Suggestions(Trials, Experiments):
    """Methods of the store that fill the queue."""

    def lease_suggester(
        self, experiment_id: int, holder: str, seconds: float = 120.0
    ) -> SuggesterLease | None:
        """Take the lease when it is free, expired, or held under the same name `holder`.

        Return None otherwise. A restarted suggester gets its lease back through its name. Raises NotFound.
        """
        now = self.clock()
        token = secrets.token_hex(16)
        values = {
            "experiment_id": experiment_id,
            "holder": holder,
            "token": token,
            "expires_at": now + seconds,
        }
        statement = self._insert(suggesters).values(**values)
        statement = statement.on_conflict_do_update(
            index_elements=[suggesters.c.experiment_id],
            set_={"holder": holder, "token": token, "expires_at": now + seconds},
            where=sa.or_(suggesters.c.expires_at < now, suggesters.c.holder == holder),
        ).returning(suggesters.c.token)
        with self._write() as connection:
            self._row(connection, experiment_id)
            got = connection.execute(statement).scalar()
        return SuggesterLease(experiment_id, holder, token) if got == token else None

    def renew_suggester(self, lease: SuggesterLease, seconds: float = 120.0) -> None:
        """Extend the lease. Raises StaleLease when another suggester holds it."""
        with self._write() as connection:
            changed = connection.execute(
                sa.update(suggesters)
                .where(suggesters.c.experiment_id == lease.experiment, suggesters.c.token == lease.token)
                .values(expires_at=self.clock() + seconds)
            )
            if changed.rowcount == 0:
                raise _lost(lease)

    def release_suggester(self, lease: SuggesterLease) -> None:
        """Release the lease. Do nothing when another suggester holds it."""
        with self._write() as connection:
            connection.execute(
                sa.delete(suggesters).where(
                    suggesters.c.experiment_id == lease.experiment, suggesters.c.token == lease.token
                )
            )

    def queue(self, lease: SuggesterLease, suggestions: Sequence[Suggestion]) -> list[int]:
        """Store suggestions, all or none, and return their trial indices.

        Infeasible suggestions, and those whose network cannot be built, are finished immediately. Raises
        StaleLease when another suggester holds the lease, Conflict when the experiment is over, NotFound.
        """
        now = self.clock()
        with self._write() as connection:
            fence = (
                sa.select(suggesters.c.token)
                .where(suggesters.c.experiment_id == lease.experiment, suggesters.c.token == lease.token)
                .with_for_update()
            )
            if connection.execute(fence).scalar() is None:
                raise _lost(lease)
            row = self._lock(connection, lease.experiment)
            if row["state"] not in (ExperimentState.RUNNING, ExperimentState.STOPPED):
                raise Conflict(f"experiment {lease.experiment} is {row['state']}: nothing can be queued")
            indices = [
                int(self._append(connection, row, suggestion, now, place)["index"])
                for place, suggestion in enumerate(suggestions)
            ]
            following = row["next_index"] + len(indices)
            connection.execute(_SET_EXPERIMENT, {"which": lease.experiment, "next_index": following})
            return indices

    def attach(
        self,
        experiment_id: int,
        parameters: Mapping[str, Value],
        epochs: int | None = None,
        key: str | None = None,
    ) -> TrialView:
        """Queue a candidate of the user.

        The caller has checked it against the space. `epochs` defaults to the source's `manual_epochs`. An experiment that was
        done runs again. A repeated `key` returns the trial that it created. Raises NotFound, Conflict.
        """
        body = {"parameters": dict(parameters), "epochs": epochs}
        now = self.clock()
        with self._write() as connection:
            earlier = self._known_request(connection, key, f"attach {experiment_id}", body)
            if earlier is not None:
                return self._trial(connection, experiment_id, earlier["trial"])
            row = self._lock(connection, experiment_id)
            if row["state"] == ExperimentState.FAILED:
                raise Conflict(
                    f"experiment {experiment_id} has failed ({row['reason']}): nothing can be queued"
                )
            candidate = Candidate(parameters=dict(parameters), origin=MANUAL.name, round=MANUAL.name)
            manual = Suggestion(
                candidate, epochs or self._parsed(experiment_id, row["spec"]).source.manual_epochs
            )
            trial = self._append(connection, row, manual, now, 0)
            index = int(trial["index"])
            change: dict[str, Any] = {"next_index": index + 1}
            if row["state"] == ExperimentState.DONE:
                change |= {"state": ExperimentState.RUNNING.value, "reason": None, "finished_at": None}
            connection.execute(_SET_EXPERIMENT, {"which": experiment_id, **change})
            if "state" in change:
                self._event(
                    connection, experiment_id, "experiment", {"state": "running", "change": "attached"}, now
                )
            self._remember_request(
                connection, key, f"attach {experiment_id}", body, experiment_id, index, now
            )
            return new_view(trial)

    def _lock(self, connection: sa.Connection, experiment_id: int) -> sa.RowMapping:
        """Lock the experiment's row until the end of the transaction and return it. Raises NotFound."""
        row = connection.execute(_LOCK, {"which": experiment_id}).mappings().one_or_none()
        if row is None:
            raise NotFound("experiment", experiment_id)
        return row

    def _append(
        self, connection: sa.Connection, row: sa.RowMapping, item: Suggestion, now: float, place: int
    ) -> Mapping[str, Any]:
        """Insert a trial and return its row.

        The row is not read back, because that costs as much as the insertion. Raises StoredSpecInvalid.
        """
        index = int(row["next_index"]) + place
        c = item.candidate
        result = item.miss() or TrialResult(state=TrialState.QUEUED)
        state, failure = result.state, result.failure
        data: dict[str, Any] = {"index": index, "state": state.value}
        counter = self._event(connection, row["id"], "trial", data, now)
        costs = {name: float(value) for name, value in item.costs.items()}
        values = {
            "experiment_id": row["id"], "index": index, "state": state.value, "origin": c.origin, "round": c.round, "parent": c.parent,
            "parameters": dict(c.parameters), "operators": list(c.operators), "epochs": item.epochs,
            "seed": trial_seed(self._parsed(row["id"], row["spec"]).seed, index), "costs": costs, "stop_requested": False, "trained_epochs": 0.0,
            "seconds": {}, "notes": list(result.notes), "failure": None if failure is None else failure.model_dump(mode="json"),
            "failure_kind": None if failure is None else failure.kind.value, "created_at": now,
            "finished_at": now if state.finished else None, "finished_event": counter if state.finished else None, "checkpoint": None,
            "kept": False, "files_expired_at": None, "stopping": None, "spared": False,
        }  # fmt: skip
        trial = {**values, "id": connection.execute(_ADD_TRIAL, values).scalar_one()}
        add_measurements(connection, trial["id"], result.measurements)
        return trial

    def observations(self, experiment_id: int) -> list[Observation]:
        """Return all trials of an experiment as its candidate source sees them, by index. Raises NotFound."""
        with self._read() as connection:
            self._row(connection, experiment_id)
            mine = trials.c.experiment_id == experiment_id
            values = values_by_trial(connection, mine)
            errors = standard_errors_by_trial(connection, mine)
            weights = set(
                connection.execute(
                    sa.select(trial_artifacts.c.trial_id)
                    .join(trials, trials.c.id == trial_artifacts.c.trial_id)
                    .where(mine, trial_artifacts.c.kind == "weights")
                ).scalars()
            )
            columns = (
                trials.c.id, trials.c.index, trials.c.state, *CANDIDATE, trials.c.epochs, trials.c.trained_epochs, trials.c.failure_kind, trials.c.stopping,
            )  # fmt: skip
            rows = connection.execute(sa.select(*columns).where(mine).order_by(trials.c.index)).mappings()
            return [
                observation(row, values.get(row["id"]), errors.get(row["id"], {}), row["id"] in weights)
                for row in rows
            ]

    def forget_requests(self, older_than: float) -> int:
        """Delete idempotency keys older than `older_than` seconds and return their number."""
        with self._write() as connection:
            limit = self.clock() - older_than
            return connection.execute(sa.delete(requests).where(requests.c.created_at < limit)).rowcount


def _lost(lease: SuggesterLease) -> StaleLease:
    return StaleLease(
        f"{lease.holder!r} lost the lease on experiment {lease.experiment} to another suggester"
    )
