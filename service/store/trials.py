"""Trials as users see them: one trial, a filtered and sorted page, learning curve, log, columns of the CSV
table."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import AttemptState, AttemptView, LogLine, TrialView
from service.store.engine import Base, Row, moment, moment_or_none
from service.store.tables import (
    attempts,
    curve_points,
    experiments,
    log_lines,
    measurements,
    trial_artifacts,
    trials,
)
from service.store.trial_rows import NOT_ON_TEST, curve_point, not_on_test, trial_view
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.records import (
    MAX_EPOCH,
    CurvePoint,
    Failure,
    FailureKind,
    TrialState,
)
from sparsemod.units import METRICS

SORTS = ("index", "state", "round", "origin", "epochs", "trained_epochs", "created_at", "finished_at")
"""Sort keys of trials, besides the names of metrics."""


class Trials(Base):
    """Methods of the store for trials."""

    def trial(self, experiment_id: int, index: int) -> TrialView:
        """Return one trial with its attempts. Raises NotFound."""
        with self._read() as connection:
            return self._trial(connection, experiment_id, index)

    def trials(
        self,
        experiment_id: int,
        *,
        state: TrialState | None = None,
        round: str | None = None,
        origin: str | None = None,
        sort: str = "index",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[list[TrialView], int]:
        """Return a page of trials (without their attempts) and the number of matches.

        Trials without a value of the sort key come last. Raises NotFound, InvalidInput for an unknown
        `sort`.
        """
        conditions, query = self._sorted(
            sa.select(trials), experiment_id, state, round, origin, sort, descending
        )
        with self._read() as connection:
            self._require(connection, experiment_id)
            total = connection.execute(
                sa.select(sa.func.count()).select_from(trials).where(*conditions)
            ).scalar_one()
            rows = list(connection.execute(query.limit(limit).offset(offset)).mappings())
            whole = limit is None and len(rows) == total and not any((state, round, origin))
            return self._views(connection, rows, experiment_id if whole else None), total

    def trial_indices(
        self,
        experiment_id: int,
        *,
        state: TrialState | None = None,
        round: str | None = None,
        origin: str | None = None,
        sort: str = "index",
        descending: bool = False,
    ) -> list[int]:
        """Return the indices of all trials that `trials` returns without a limit, in the same order.

        Raises NotFound, InvalidInput for an unknown `sort`.
        """
        _, query = self._sorted(
            sa.select(trials.c.index), experiment_id, state, round, origin, sort, descending
        )
        with self._read() as connection:
            self._require(connection, experiment_id)
            return list(connection.execute(query).scalars())

    def _sorted(
        self,
        query: sa.Select[Any],
        experiment_id: int,
        state: TrialState | None,
        round: str | None,
        origin: str | None,
        sort: str,
        descending: bool,
    ) -> tuple[list[Any], sa.Select[Any]]:
        """Return the filter conditions, and `query` with these conditions and the order.

        Raises InvalidInput.
        """
        conditions: list[Any] = [trials.c.experiment_id == experiment_id]
        conditions += [
            trials.c[column] == value
            for column, value in (("state", state), ("round", round), ("origin", origin))
            if value is not None
        ]
        query = query.where(*conditions)
        if sort in SORTS:
            key: Any = trials.c[sort]
        elif sort in METRICS:
            metric = measurements.alias()
            query = query.outerjoin(
                metric,
                sa.and_(
                    metric.c.trial_id == trials.c.id,
                    metric.c.metric == sort,
                    not_on_test(metric),
                ),
            )
            key = metric.c.value
        else:
            raise InvalidInput("sort", sort, f"one of {', '.join((*SORTS, *METRICS))}")
        return conditions, query.order_by(
            (key.desc() if descending else key.asc()).nulls_last(), trials.c.index
        )

    def trials_at(self, experiment_id: int, indices: Sequence[int]) -> list[TrialView]:
        """Return the trials with these indices, in the order of `indices`, without their attempts.

        Skip missing trials.
        """
        views: dict[int, TrialView] = {}
        with self._read() as connection:
            for start in range(0, len(indices), 500):
                part = indices[start : start + 500]
                query = sa.select(trials).where(
                    trials.c.experiment_id == experiment_id, trials.c.index.in_(part)
                )
                for view in self._views(connection, list(connection.execute(query).mappings())):
                    views[view.index] = view
        return [views[index] for index in indices if index in views]

    def csv_columns(self, experiment_id: int, indices: Collection[int]) -> tuple[dict[str, str], list[str]]:
        """Return the columns of a table of these trials: metric -> unit, and parameters, both in the order
        of the trials."""
        selected = set(indices)
        metrics: dict[str, str] = {}
        parameters: dict[str, None] = {}
        with self._read() as connection:
            # Most trials have the same columns: process each set of names once.
            seen: set[tuple[str, ...]] = set()
            rows = sa.select(trials.c.index, trials.c.parameters).where(
                trials.c.experiment_id == experiment_id
            )
            for index, values in connection.execute(rows.order_by(trials.c.index)):
                names = tuple(values)
                if index in selected and names not in seen:
                    seen.add(names)
                    parameters.update(dict.fromkeys(names))
            first = sa.func.min(measurements.c.position)
            units = (
                sa.select(measurements.c.metric, measurements.c.unit, first)
                .join(trials, trials.c.id == measurements.c.trial_id)
                .where(trials.c.experiment_id == experiment_id, NOT_ON_TEST)
                .group_by(measurements.c.metric, measurements.c.unit)
                .order_by(first, measurements.c.metric)
            )
            for name, unit, _ in connection.execute(units):
                metrics.setdefault(name, unit)
        return metrics, list(parameters)

    def curve(self, experiment_id: int, index: int) -> list[CurvePoint]:
        """Return the learning curve by epoch.

        The latest attempt's point wins where an epoch was repeated. Raises NotFound.
        """
        with self._read() as connection:
            trial_id = self._trial_row(connection, experiment_id, index)["id"]
            rows = connection.execute(
                sa.select(curve_points)
                .join(attempts, attempts.c.id == curve_points.c.attempt_id)
                # Earlier versions did not limit the epoch.
                .where(attempts.c.trial_id == trial_id, curve_points.c.epoch <= MAX_EPOCH)
                .order_by(curve_points.c.attempt_id)
            ).mappings()
            points = {row["epoch"]: curve_point(row) for row in rows}
            return [points[epoch] for epoch in sorted(points)]

    def log(self, experiment_id: int, index: int, after: int = 0, limit: int = 1000) -> list[LogLine]:
        """Return up to `limit` log lines of the trial by attempt and time, skipping the first `after`.

        Raises NotFound.
        """
        with self._read() as connection:
            trial_id = self._trial_row(connection, experiment_id, index)["id"]
            rows = connection.execute(
                sa.select(log_lines)
                .join(attempts, attempts.c.id == log_lines.c.attempt_id)
                .where(attempts.c.trial_id == trial_id)
                .order_by(log_lines.c.attempt_id, log_lines.c.time, log_lines.c.id)
                .limit(limit)
                .offset(after)
            ).mappings()
            return [LogLine(time=row["time"], level=row["level"], message=row["message"]) for row in rows]

    def stop_trial(self, experiment_id: int, index: int) -> TrialView:
        """Stop one trial: a queued one immediately, a running one at its worker's next heartbeat.

        Raises NotFound, Conflict when the trial is over.
        """
        now = self.clock()
        with self._write() as connection:
            row = self._trial_row(connection, experiment_id, index, lock=True)
            state = TrialState(row["state"])
            if state is TrialState.STOPPED:
                return self._trial(connection, experiment_id, index)  # a repeated request
            if state.finished:
                raise Conflict(f"trial {index} is {state}")
            change: dict[str, Any] = {"stop_requested": True}
            if state is TrialState.QUEUED:
                data = {"index": index, "state": "stopped"}
                counter = self._event(connection, experiment_id, "trial", data, now)
                change |= {"state": TrialState.STOPPED.value, "finished_at": now, "finished_event": counter}
            connection.execute(sa.update(trials).where(trials.c.id == row["id"]).values(**change))
            return self._trial(connection, experiment_id, index)

    def retry(self, experiment_id: int, indices: Sequence[int] | None = None) -> list[int]:
        """Queue failed or stopped trials again, with a fresh count of attempts, and return their indices.

        `indices` selects the trials; None selects all that failed by a fault. A trial with a checkpoint continues from
        it, others start again; no stopping rule judges a trial that was stopped. An experiment that was done or failed
        runs again. Raises NotFound, Conflict for a trial that has neither failed nor stopped, which includes a trial that
        is queued again.
        """
        now = self.clock()
        with self._write() as connection:
            mine = sa.select(trials).where(trials.c.experiment_id == experiment_id)
            if indices is None:
                retryable = trials.c.failure_kind.is_distinct_from(FailureKind.INVALID.value)
                mine = mine.where(trials.c.state == TrialState.FAILED.value, retryable)
                rows = connection.execute(mine.order_by(trials.c.index).with_for_update()).mappings().all()
            else:
                rows = [
                    self._trial_row(connection, experiment_id, index, lock=True)
                    for index in sorted(set(indices))
                ]
            self._require(connection, experiment_id)
            for row in rows:
                if row["state"] not in (TrialState.FAILED, TrialState.STOPPED):
                    raise Conflict(
                        f"trial {row['index']} is {row['state']}: only a failed or a stopped trial can be retried"
                    )
                self._queue_again(connection, row, now)
            if rows:
                over = ("done", "failed")
                again = connection.execute(
                    sa.update(experiments)
                    .where(experiments.c.id == experiment_id, experiments.c.state.in_(over))
                    .values(state="running", reason=None, finished_at=None)
                )
                if again.rowcount:
                    data = {"state": "running", "change": "retried"}
                    self._event(connection, experiment_id, "experiment", data, now)
            return [row["index"] for row in rows]

    def _queue_again(self, connection: sa.Connection, row: Row, now: float) -> None:
        mine = attempts.c.trial_id == row["id"]
        last = connection.execute(sa.select(sa.func.max(attempts.c.id)).where(mine)).scalar()
        for table in (measurements, trial_artifacts):
            connection.execute(sa.delete(table).where(table.c.trial_id == row["id"]))
        connection.execute(
            sa.update(trials)
            .where(trials.c.id == row["id"])
            .values(
                state=TrialState.QUEUED.value, stop_requested=False, forgiven=last, failure=None, failure_kind=None, finished_at=None,
                finished_event=None, trained_epochs=0.0, seconds={}, notes=[], stopping=None,
                spared=row["spared"] or row["state"] == TrialState.STOPPED,
            )
        )  # fmt: skip
        data = {"index": row["index"], "state": "queued", "change": "retried"}
        self._event(connection, row["experiment_id"], "trial", data, now)

    # -- shared with other classes of the store ---------------------------------------------------------

    def _require(self, connection: sa.Connection, experiment_id: int) -> None:
        if (
            connection.execute(sa.select(experiments.c.id).where(experiments.c.id == experiment_id)).scalar()
            is None
        ):
            raise NotFound("experiment", experiment_id)

    def _trial_row(
        self, connection: sa.Connection, experiment_id: int, index: int, *, lock: bool = False
    ) -> Row:
        query = sa.select(trials).where(trials.c.experiment_id == experiment_id, trials.c.index == index)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is None:
            self._require(connection, experiment_id)
            raise NotFound("trial", index, f"experiment {experiment_id}")
        return row

    def _trial(self, connection: sa.Connection, experiment_id: int, index: int) -> TrialView:
        row = self._trial_row(connection, experiment_id, index)
        attempt_rows = connection.execute(
            sa.select(attempts).where(attempts.c.trial_id == row["id"]).order_by(attempts.c.id)
        ).mappings()
        views = tuple(
            AttemptView(
                attempt=a["id"],
                worker=a["worker"],
                device=a["device"],
                state=AttemptState(a["state"]),
                started_at=moment(a["started_at"]),
                heartbeat_at=moment(a["heartbeat_at"]),
                ended_at=moment_or_none(a["ended_at"]),
                failure=None if a["failure"] is None else Failure.model_validate(a["failure"]),
            )
            for a in attempt_rows
        )
        return self._views(connection, [row])[0].model_copy(update={"attempts": views})

    def _views(
        self, connection: sa.Connection, rows: Sequence[Row], experiment_id: int | None = None
    ) -> list[TrialView]:
        """Return views of `rows`.

        Pass `experiment_id` when `rows` are all its trials: then one query reads each table.
        """
        identities = [row["id"] for row in rows]
        measured = self._of_trials(
            connection, measurements, identities, experiment_id, measurements.c.position
        )
        files = self._of_trials(
            connection, trial_artifacts, identities, experiment_id, trial_artifacts.c.kind
        )
        return [trial_view(row, measured.get(row["id"], ()), files.get(row["id"], ())) for row in rows]

    def _of_trials(
        self,
        connection: sa.Connection,
        table: sa.Table,
        identities: list[int],
        experiment_id: int | None,
        order: Any,
    ) -> dict[int, list[Any]]:
        """Return the rows of `table` grouped by trial id."""
        grouped: dict[int, list[Any]] = {}
        query = sa.select(table).order_by(table.c.trial_id, order)
        if experiment_id is not None:
            joined = query.join(trials, trials.c.id == table.c.trial_id).where(
                trials.c.experiment_id == experiment_id
            )
            for row in connection.execute(joined):
                grouped.setdefault(row.trial_id, []).append(row)
            return grouped
        for start in range(0, len(identities), 500):
            for row in connection.execute(query.where(table.c.trial_id.in_(identities[start : start + 500]))):
                grouped.setdefault(row.trial_id, []).append(row)
        return grouped
