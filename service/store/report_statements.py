"""The prepared SQL statements of reports: an attempt ends, and its trial.

PostgreSQL gets the rows of one step in one statement, because each statement costs a round trip. On SQLite, which has
no changes inside of WITH, the same step takes one statement for each table.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.store.tables import (
    SPEC_TEXT,
    attempts,
    curve_points,
    events,
    experiments,
    measurements,
    pauses,
    trials,
)
from sparsemod.records import TrialState

_TRIAL = (
    trials.c.id,
    trials.c.experiment_id,
    trials.c.index,
    trials.c.stop_requested,
    trials.c.forgiven,
    SPEC_TEXT,
    experiments.c.state.label("experiment_state"),
    sa.exists(sa.select(pauses.c.key)).label("paused"),
)

REPORTED = (
    sa.select(
        attempts.c.token,
        attempts.c.worker,
        attempts.c.state.label("attempt_state"),
        attempts.c.outcome,
        *_TRIAL,
    )
    .join(trials, trials.c.id == attempts.c.trial_id)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(attempts.c.id == sa.bindparam("which"))
    .with_for_update(of=[attempts, trials], key_share=True)
)
"""An attempt with its trial, both locked."""

LOCKED_TRIAL = (
    sa.select(*_TRIAL)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(trials.c.id == sa.bindparam("which"))
    .with_for_update(of=[trials, experiments], key_share=True)
)
"""A trial and its experiment, which nobody changes before the commit: for a next state that depends on them."""

_END = ("state", "outcome", "ended_at", "heartbeat_at", "failure")
"""The columns that the end of an attempt sets."""

SET_ATTEMPT = (
    sa.update(attempts)
    .where(attempts.c.id == sa.bindparam("which"))
    .values({name: sa.bindparam(name) for name in _END})
)

_ENDED = (
    sa.update(attempts)
    .where(attempts.c.id == sa.bindparam("end_which"))
    .values({name: sa.bindparam(f"end_{name}") for name in _END})
)
"""SET_ATTEMPT whose parameters are named `end_...`."""

SET_TRIAL = sa.update(trials).where(trials.c.id == sa.bindparam("which"))

_FINAL = (
    "state", "finished_at", "trained_epochs", "seconds", "notes", "failure", "failure_kind",
)  # fmt: skip
"""The columns that a final state sets, besides `finished_event`."""


def rows_of(name: str, *columns: sa.Column[Any]) -> Any:
    """Return the JSON list of the parameter `name` as rows with these columns (PostgreSQL)."""
    listed = [sa.column(column.name, column.type) for column in columns]
    values = sa.func.json_to_recordset(sa.bindparam(name, type_=sa.JSON))
    return values.table_valued(*listed, name=f"{name}_rows").render_derived(with_types=True)


def _add(table: sa.Table, name: str) -> Any:
    """Return the INSERT of all rows in the parameter `name` (PostgreSQL)."""
    rows = rows_of(name, *table.columns)
    chosen = sa.select(*(rows.c[column.name] for column in table.columns))
    return postgresql.insert(table).from_select([column.name for column in table.columns], chosen)


def replacing_points(statement: Any) -> Any:
    """Return the INSERT of curve points that replaces those of the same epoch."""
    columns = [column.name for column in curve_points.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=["attempt_id", "epoch"],
        set_={name: statement.excluded[name] for name in columns},
    )


def _finish_at_once() -> Any:
    counted = (
        sa.update(experiments)
        .where(experiments.c.id == sa.bindparam("experiment"))
        .values(events=experiments.c.events + 1, updated_at=sa.bindparam("updated_at"))
        .returning(experiments.c.id, experiments.c.events)
        .cte("counted")
    )
    added = (
        sa.insert(events)
        .from_select(
            ["experiment_id", "counter", "time", "kind", "data"],
            sa.select(
                counted.c.id,
                counted.c.events,
                sa.bindparam("now", type_=sa.Double),
                sa.bindparam("kind", type_=events.c.kind.type),
                sa.bindparam("data", type_=events.c.data.type),
            ),
        )
        .cte("added_events")
    )
    stopped = sa.bindparam("set_state", type_=trials.c.state.type) == TrialState.STOPPED.value
    return (
        SET_TRIAL.values({name: sa.bindparam(f"set_{name}") for name in _FINAL})
        .values(finished_event=sa.select(counted.c.events).scalar_subquery())
        # Otherwise the trial ended before the decision of the stopping rule reached the worker.
        .values(stopping=sa.case((stopped, trials.c.stopping), else_=sa.null()))
        .add_cte(added)
    )


FINISH_AT_ONCE = _finish_at_once()
"""The final state of a trial with its event (PostgreSQL). The columns of the state are the parameters `set_...`."""

REPORT_AT_ONCE = FINISH_AT_ONCE.add_cte(
    replacing_points(_add(curve_points, "points")).cte("added_points"),
    _add(measurements, "measurements").cte("added_measurements"),
    _ENDED.cte("ended"),
)
"""FINISH_AT_ONCE with the end of the attempt (parameters `end_...`), its curve and the measurements: lists of rows."""
