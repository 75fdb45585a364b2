"""The prepared SQL statements of claims."""

from typing import Any

import sqlalchemy as sa

from service.schemas.trials import AttemptState, ExperimentState
from service.store.tables import (
    SPEC_TEXT,
    attempts,
    experiments,
    pauses,
    trials,
    workers,
)
from service.store.trial_rows import CANDIDATE
from sparsemod.records import TrialState


def oldest_queued(query: Any, postgres: bool) -> Any:
    """Return a query for trials that reads the queued ones only, the oldest first.

    PostgreSQL gets a range, not an equation: for an equation, it may read the primary key in its order, and so all
    trials that are not queued any more. Only the index of state and id has the order of state and id.
    """
    queued = TrialState.QUEUED.value
    if postgres:
        return query.where(trials.c.state.between(queued, queued)).order_by(trials.c.state, trials.c.id)
    return query.where(trials.c.state == queued).order_by(trials.c.id)


EXPERIMENT_RUNS = (
    sa.select(experiments.c.state).where(experiments.c.id == trials.c.experiment_id).scalar_subquery()
    == ExperimentState.RUNNING.value
)
"""The condition that the experiment of a trial is running. Not a join, with which SQLite may start from the experiment
and sort all its queued trials."""


def not_paused(whom: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the condition that no pause of claims holds for a trial's experiment and those whom `whom` selects."""
    return ~sa.exists(
        sa.select(pauses.c.key).where(
            pauses.c.until > sa.bindparam("now"),
            pauses.c.claims.is_(sa.true()),
            whom,
            sa.or_(pauses.c.experiment_id.is_(None), pauses.c.experiment_id == trials.c.experiment_id),
        )
    )


def unbarred(query: sa.Select[tuple[int]]) -> sa.Select[tuple[int]]:
    """Leave out barred experiments and trials. Each list contains 0, because an empty one needs another statement."""
    return query.where(
        trials.c.experiment_id.not_in(sa.bindparam("barred", expanding=True)),
        trials.c.id.not_in(sa.bindparam("barred_trials", expanding=True)),
    )


def _claimable(barred: bool, postgres: bool) -> sa.Select[tuple[int]]:
    """Return the query for the oldest trial that a worker may have."""
    query: sa.Select[tuple[int]] = (
        sa.select(trials.c.id)
        .where(
            EXPERIMENT_RUNS,
            not_paused(sa.or_(pauses.c.worker.is_(None), pauses.c.worker == sa.bindparam("by"))),
            ~sa.exists(
                sa.select(workers.c.name).where(
                    workers.c.name == sa.bindparam("by"), workers.c.draining.is_(sa.true())
                )
            ),
        )
        .limit(sa.literal_column("1"))  # not a parameter, which PostgreSQL would plan as a tenth of all rows
    )
    query = oldest_queued(query, postgres)
    return unbarred(query) if barred else query


CLAIM_COLUMNS = (
    trials.c.id,
    trials.c.experiment_id,
    trials.c.index,
    *CANDIDATE,
    trials.c.epochs,
    trials.c.seed,
    trials.c.checkpoint,
)
"""The columns of a trial that a claim needs."""


def _take(chosen: sa.Select[tuple[int]]) -> Any:
    return (
        sa.update(trials)
        .where(trials.c.id == chosen.scalar_subquery(), trials.c.state == TrialState.QUEUED.value)
        .values(state=TrialState.RUNNING.value)
        .returning(*CLAIM_COLUMNS)
    )


def _take_at_once(barred: bool) -> Any:
    taken = _take(_claimable(barred, True).with_for_update(of=trials, skip_locked=True)).cte("taken")
    names = [column.name for column in attempts.columns if column.name not in _NOT_NEW]
    values = [sa.bindparam(f"new_{name}", type_=attempts.c[name].type) for name in names]
    added = (
        sa.insert(attempts)
        .from_select(["trial_id", *names], sa.select(taken.c.id, *values))
        .returning(attempts.c.id)
        .cte("added")
    )
    return sa.select(taken, added.c.id.label("attempt_id")).select_from(taken.join(added, sa.true()))


_NOT_NEW = ("id", "trial_id", "ended_at", "failure", "outcome")
"""The columns of an attempt that its claim does not set itself."""

TAKE = {barred: _take(_claimable(barred, False)) for barred in (False, True)}
"""Whether something is barred -> the statement that takes the oldest trial."""

TAKE_AT_ONCE = {barred: _take_at_once(barred) for barred in (False, True)}
"""As TAKE, but adds the attempt in the same statement (PostgreSQL). The columns of the attempt are the parameters
`new_...`."""

ADD_ATTEMPT = sa.insert(attempts).returning(attempts.c.id)


CLAIMED = (
    sa.select(*CLAIM_COLUMNS, attempts.c.token, SPEC_TEXT)
    .join(attempts, attempts.c.trial_id == trials.c.id)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(attempts.c.id == sa.bindparam("which"))
)


RUNNING_TRIAL = (
    sa.select(
        trials.c.experiment_id,
        trials.c.index,
        trials.c.stop_requested,
        experiments.c.state,
        experiments.c.spec_version,
    )
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(trials.c.id == sa.bindparam("which"))
)
"""A running trial, the state of its experiment, and the version of its spec."""


EARLIER = sa.select(attempts).where(attempts.c.request == sa.bindparam("request"))
"""The attempt that an earlier claim with the same request got."""


def _look(barred: bool) -> sa.Executable:
    return sa.select(
        _claimable(barred, False).order_by(None).limit(None).exists(),
        sa.select(attempts.c.id)
        .where(attempts.c.state == AttemptState.RUNNING.value, attempts.c.expires_at < sa.bindparam("now"))
        .exists(),
        sa.select(attempts.c.id).where(attempts.c.request == sa.bindparam("request")).exists(),
        sa.select(workers.c.name)
        .where(workers.c.name == sa.bindparam("by"), workers.c.last_seen > sa.bindparam("since"))
        .exists(),
        sa.select(workers.c.name)
        .where(workers.c.name == sa.bindparam("by"), workers.c.draining.is_(sa.true()))
        .exists(),
    )


LOOK = {barred: _look(barred) for barred in (False, True)}
"""Whether something is barred -> the query of `Attempts._peek`."""
