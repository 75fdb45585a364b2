"""The prepared SQL statements of claims."""

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
from sparsemod.records import TrialState

CLAIMABLE = (
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
        ~sa.exists(
            sa.select(workers.c.name).where(
                workers.c.name == sa.bindparam("worker"), workers.c.draining.is_(sa.true())
            )
        ),
        # List parameters. Each contains 0, because an empty list would need another statement.
        experiments.c.id.not_in(sa.bindparam("barred", expanding=True)),
        trials.c.id.not_in(sa.bindparam("barred_trials", expanding=True)),
    )
    .order_by(trials.c.id)
    .limit(1)
)


ADD_ATTEMPT = sa.insert(attempts).returning(attempts.c.id)


CLAIMED = (
    sa.select(trials, attempts.c.token, SPEC_TEXT)
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


LOOK = sa.select(
    CLAIMABLE.exists(),
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
