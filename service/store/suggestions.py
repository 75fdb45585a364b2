"""Methods for the suggester: the lease on an experiment, the trials that the search reads, and the queue."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from service.schemas.trials import ExperimentState, TrialView
from service.store.experiments import Experiments
from service.store.tables import experiments, measurements, requests, suggesters, trial_artifacts, trials
from service.store.trial_rows import add_measurements, new_view
from service.store.trials import Trials
from sparsemod.errors import Conflict, NotFound, StaleLease
from sparsemod.pipeline.problem import trial_seed
from sparsemod.records import Candidate, Failure, FailureKind, Measurement, TrialState, Value
from sparsemod.sources.base import MANUAL
from sparsemod.units import over_budget

__all__ = ["Suggested", "SuggesterLease", "Suggestions", "TrialRecord"]


class Suggested(Protocol):
    """A candidate to queue, such as `sparsemod.pipeline.proposals.Proposal`."""

    @property
    def candidate(self) -> Candidate: ...
    @property
    def epochs(self) -> int: ...
    @property
    def costs(self) -> Mapping[str, float]: ...
    @property
    def feasible(self) -> bool: ...
    @property
    def over(self) -> Mapping[str, float]: ...
    @property
    def error(self) -> str | None: ...
    @property
    def measurements(self) -> Sequence[Measurement]: ...  # costs of an infeasible candidate


@dataclass(frozen=True, slots=True)
class SuggesterLease:
    """The right to queue trials of an experiment until the lease expires."""

    experiment: int
    holder: str
    token: str


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as the search needs it.

    `values`: the measurements (without test data), the costs of an infeasible trial, or None. `epochs`: the
    requested epochs. `trained_epochs`: the epochs that the weights were trained for. `weights`: whether a
    file of kind "weights" is stored.
    """

    index: int
    candidate: Candidate
    state: TrialState
    epochs: int
    trained_epochs: float
    costs: Mapping[str, float]
    values: Mapping[str, float] | None
    failure: FailureKind | None
    weights: bool


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

    def queue(self, lease: SuggesterLease, suggestions: Sequence[Suggested]) -> list[int]:
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
            manual = _Manual(
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
        self, connection: sa.Connection, row: sa.RowMapping, item: Suggested, now: float, place: int
    ) -> Mapping[str, Any]:
        """Insert a trial and return its row.

        The row is not read back, because that costs as much as the insertion. Raises StoredSpecInvalid.
        """
        index = int(row["next_index"]) + place
        c = item.candidate
        state, failure, notes = TrialState.QUEUED, None, []
        if item.error is not None:
            state, failure = TrialState.FAILED, Failure(kind=FailureKind.INVALID, message=item.error)
        elif not item.feasible:
            state = TrialState.INFEASIBLE
            notes = [over_budget(name, excess) for name, excess in item.over.items()]
        data: dict[str, Any] = {"index": index, "state": state.value}
        counter = self._event(connection, row["id"], "trial", data, now)
        costs = {name: float(value) for name, value in item.costs.items()}
        values = {
            "experiment_id": row["id"], "index": index, "state": state.value, "origin": c.origin, "round": c.round, "parent": c.parent,
            "parameters": dict(c.parameters), "operators": list(c.operators), "epochs": item.epochs,
            "seed": trial_seed(self._parsed(row["id"], row["spec"]).seed, index), "costs": costs, "stop_requested": False, "trained_epochs": 0.0,
            "seconds": {}, "notes": notes, "failure": None if failure is None else failure.model_dump(mode="json"),
            "failure_kind": None if failure is None else failure.kind.value, "created_at": now,
            "finished_at": now if state.finished else None, "finished_event": counter if state.finished else None, "checkpoint": None,
        }  # fmt: skip
        trial = {**values, "id": connection.execute(_ADD_TRIAL, values).scalar_one()}
        if state is TrialState.INFEASIBLE:
            add_measurements(connection, trial["id"], item.measurements)
        return trial

    def records(self, experiment_id: int) -> list[TrialRecord]:
        """Return all trials of an experiment as the search needs them, by index. Raises NotFound."""
        with self._read() as connection:
            self._row(connection, experiment_id)
            mine = trials.c.experiment_id == experiment_id
            values: dict[int, dict[str, float]] = {}
            rows = connection.execute(
                sa.select(measurements.c.trial_id, measurements.c.metric, measurements.c.value)
                .join(trials, trials.c.id == measurements.c.trial_id)
                .where(mine, sa.or_(measurements.c.split.is_(None), measurements.c.split != "test"))
            )
            for trial_id, name, value in rows:
                values.setdefault(trial_id, {})[name] = value
            weights = set(
                connection.execute(
                    sa.select(trial_artifacts.c.trial_id)
                    .join(trials, trials.c.id == trial_artifacts.c.trial_id)
                    .where(mine, trial_artifacts.c.kind == "weights")
                ).scalars()
            )
            columns = (
                trials.c.id, trials.c.index, trials.c.state, trials.c.origin, trials.c.round, trials.c.parent, trials.c.parameters,
                trials.c.operators, trials.c.epochs, trials.c.trained_epochs, trials.c.costs, trials.c.failure_kind,
            )  # fmt: skip
            records = []
            for row in connection.execute(sa.select(*columns).where(mine).order_by(trials.c.index)):
                candidate = Candidate(
                    parameters=row.parameters,
                    origin=row.origin,
                    round=row.round,
                    parent=row.parent,
                    operators=row.operators,
                )
                failure = None if row.failure_kind is None else FailureKind(row.failure_kind)
                records.append(
                    TrialRecord(
                        row._mapping["index"], candidate, TrialState(row.state), row.epochs, row.trained_epochs, row.costs, values.get(row.id),
                        failure, row.id in weights,
                    )
                )  # fmt: skip
            return records

    def forget_requests(self, older_than: float) -> int:
        """Delete idempotency keys older than `older_than` seconds and return their number."""
        with self._write() as connection:
            limit = self.clock() - older_than
            return connection.execute(sa.delete(requests).where(requests.c.created_at < limit)).rowcount


@dataclass(frozen=True)
class _Manual:
    candidate: Candidate
    epochs: int
    costs: Mapping[str, float] = field(default_factory=dict)
    feasible: bool = True
    over: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    measurements: tuple[Measurement, ...] = ()


def _lost(lease: SuggesterLease) -> StaleLease:
    return StaleLease(
        f"{lease.holder!r} lost the lease on experiment {lease.experiment} to another suggester"
    )
