"""The prepared SQL statements of groups of reports, see `service.store.groups`.

PostgreSQL gets the rows of a group as JSON lists in few statements, because each statement costs a round trip. SQLite
executes a statement once for each row.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.schemas.trials import AttemptState
from service.store.claim_statements import CLAIM_COLUMNS, EXPERIMENT_RUNS, not_paused, oldest_queued, unbarred
from service.store.report_statements import replacing_points, rows_of
from service.store.tables import (
    SPEC_TEXT,
    attempts,
    curve_points,
    events,
    experiments,
    log_lines,
    measurements,
    pauses,
    trial_artifacts,
    trials,
    workers,
)
from sparsemod.records import TrialState


def _listed(column: sa.ColumnElement[Any], postgres: bool) -> sa.ColumnElement[bool]:
    """Return the condition that a column is one of the numbers in the parameter `which`.

    PostgreSQL gets an array, SQLite a JSON list: the text of the statement does not depend on their number.
    """
    if postgres:
        return column == sa.any_(sa.bindparam("which", type_=postgresql.ARRAY(sa.BigInteger)))
    each = sa.func.json_each(sa.bindparam("which", type_=sa.JSON)).table_valued("value")
    return column.in_(sa.select(each.c.value))


def _reported(postgres: bool) -> Any:
    return (
        sa.select(
            attempts.c.id.label("attempt_id"),
            attempts.c.token,
            attempts.c.worker,
            attempts.c.state.label("attempt_state"),
            trials.c.id,
            trials.c.experiment_id,
            trials.c.index,
        )
        .join(trials, trials.c.id == attempts.c.trial_id)
        .where(_listed(attempts.c.id, postgres))
        .order_by(attempts.c.id)
        .with_for_update(of=[attempts, trials], key_share=True)
    )


REPORTED_ALL = {postgres: _reported(postgres) for postgres in (False, True)}
"""Whether the database is PostgreSQL -> the query for the attempts `which` with their trials, all locked."""

EXPERIMENT = sa.select(SPEC_TEXT, sa.exists(sa.select(pauses.c.key)).label("paused")).where(
    experiments.c.id == sa.bindparam("which")
)
"""The spec of an experiment, and whether the store has any pause."""

BARS = sa.union_all(
    sa.select(pauses.c.worker, sa.false().label("draining")).where(
        pauses.c.until > sa.bindparam("now"), pauses.c.claims.is_(sa.true()), pauses.c.worker.is_not(None)
    ),
    sa.select(workers.c.name, sa.true()).where(workers.c.draining.is_(sa.true())),
)
"""The workers that are paused or draining."""


def _chosen(barred: bool, postgres: bool) -> sa.Select[tuple[int]]:
    """Return the query for the oldest `count` trials that every worker may have that is neither paused nor draining."""
    query: sa.Select[tuple[int]] = (
        sa.select(trials.c.id)
        .where(
            EXPERIMENT_RUNS,
            not_paused(pauses.c.worker.is_(None)),
        )
        # In the text of the statement: PostgreSQL plans an unknown limit as a tenth of all rows, and would sort them.
        .limit(sa.bindparam("count", type_=sa.Integer, literal_execute=True))
    )
    query = oldest_queued(query, postgres)
    return unbarred(query) if barred else query


def _take(barred: bool) -> Any:
    return (
        sa.update(trials)
        .where(trials.c.id.in_(_chosen(barred, False)))
        .values(state=TrialState.RUNNING.value)
        .returning(*CLAIM_COLUMNS)
    )


TAKE_ALL = {barred: _take(barred) for barred in (False, True)}
"""Whether something is barred -> the statement that takes the oldest `count` trials (SQLite)."""

ADD_ATTEMPTS = sa.insert(attempts)

RUNNING_ATTEMPTS = sa.select(attempts.c.id, attempts.c.trial_id).where(
    _listed(attempts.c.trial_id, False), attempts.c.state == AttemptState.RUNNING.value
)
"""The running attempts of the trials `which` (SQLite)."""

_PLACE = sa.Column("place", sa.Integer)

_ASKED = ("worker", "device", "token", "request", "login")
"""The columns of an attempt that its claim determines."""


def _take_at_once(barred: bool) -> Any:
    chosen = _chosen(barred, True).with_for_update(of=trials, skip_locked=True).cte("chosen")
    numbered = sa.select(
        chosen.c.id, (sa.func.row_number().over(order_by=chosen.c.id) - 1).label("place")
    ).cte("numbered")
    taken = (
        sa.update(trials)
        .where(trials.c.id == numbered.c.id)
        .values(state=TrialState.RUNNING.value)
        .returning(*CLAIM_COLUMNS, numbered.c.place)
        .cte("taken")
    )
    asked = rows_of("asked", _PLACE, *(attempts.c[name] for name in _ASKED))
    now = sa.bindparam("now", type_=sa.Double)
    added = (
        sa.insert(attempts)
        .from_select(
            ["trial_id", *_ASKED, "state", "started_at", "heartbeat_at", "expires_at"],
            sa.select(
                taken.c.id,
                *(asked.c[name] for name in _ASKED),
                sa.literal(AttemptState.RUNNING.value),
                now,
                now,
                sa.bindparam("expires_at", type_=sa.Double),
            ).select_from(taken.join(asked, asked.c.place == taken.c.place)),
        )
        .returning(attempts.c.id, attempts.c.trial_id)
        .cte("added")
    )
    return (
        sa.select(taken, added.c.id.label("attempt_id"))
        .select_from(taken.join(added, added.c.trial_id == taken.c.id))
        .order_by(taken.c.place)
    )


TAKE_ALL_AT_ONCE = {barred: _take_at_once(barred) for barred in (False, True)}
"""As TAKE_ALL, but adds the attempts of the list `asked` in the same statement (PostgreSQL)."""

_FINAL = ("state", "trained_epochs", "seconds", "notes", "finished_event")
"""The columns of a trial that its report determines; the others of a completed trial are the same for all."""

SET_TRIALS = (
    sa.update(trials)
    .where(trials.c.id == sa.bindparam("which"))
    .values({name: sa.bindparam(f"set_{name}", type_=trials.c[name].type) for name in _FINAL})
    .values(finished_at=sa.bindparam("now"), failure=sa.null(), failure_kind=sa.null(), stopping=sa.null())
)
"""The end of a trial with a result (SQLite)."""


def _add(table: sa.Table, name: str) -> Any:
    """Return the INSERT of all rows in the parameter `name`, without an `id` (PostgreSQL)."""
    columns = [column for column in table.columns if column.name != "id"]
    rows = rows_of(name, *columns)
    return postgresql.insert(table).from_select(
        [column.name for column in columns], sa.select(*(rows.c[column.name] for column in columns))
    )


def _report_all() -> Any:
    rows = rows_of(
        "ended", trials.c.id, *(trials.c[name] for name in _FINAL), sa.Column("attempt", sa.BigInteger)
    )
    now = sa.bindparam("now", type_=sa.Double)
    again = rows_of(
        "ended", sa.Column("attempt", sa.BigInteger), sa.Column("state", trials.c.state.type)
    ).alias("again")
    ended = (
        sa.update(attempts)
        .where(attempts.c.id == again.c.attempt)
        .values(
            state=AttemptState.COMPLETED.value,
            outcome=again.c.state,
            ended_at=now,
            heartbeat_at=now,
            failure=sa.null(),
        )
        .cte("ended_attempts")
    )
    return (
        sa.update(trials)
        .where(trials.c.id == rows.c.id)
        .values({name: rows.c[name] for name in _FINAL})
        .values(finished_at=now, failure=sa.null(), failure_kind=sa.null(), stopping=sa.null())
        .add_cte(
            ended,
            replacing_points(_add(curve_points, "points")).cte("added_points"),
            _add(measurements, "measurements").cte("added_measurements"),
            _add(trial_artifacts, "files").cte("added_files"),
            _add(log_lines, "log").on_conflict_do_nothing().cte("added_lines"),
            _add(events, "events").cte("added_events"),
        )
    )


REPORT_ALL_AT_ONCE = _report_all()
"""The ends of trials with results, with all rows of their reports and the events (PostgreSQL)."""
