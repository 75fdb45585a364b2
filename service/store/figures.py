"""Figures of the whole service for monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import AttemptState, ExperimentState
from service.store.engine import Base
from service.store.tables import artifacts, attempts, experiments, pauses, trials, workers
from sparsemod.records import TrialState


@dataclass(frozen=True)
class Figures:
    """Counts over all experiments. `queued` counts the trials that workers can claim."""

    queued: int
    trials: Mapping[str, int]
    failures: Mapping[str, int]
    suggestions: Mapping[str, int]
    experiments: Mapping[str, int]
    attempts: Mapping[str, int]
    workers: int
    pauses: int
    artifact_bytes: int


class Monitoring(Base):
    """Methods of the store for monitoring."""

    def figures(self) -> Figures:
        """Count everything in one snapshot."""
        now = self.clock()
        with self._read() as connection:

            def counts(column: sa.Column[str], *where: sa.ColumnElement[bool]) -> dict[str, int]:
                query = sa.select(column, sa.func.count()).where(*where).group_by(column)
                return {str(name): count for name, count in connection.execute(query)}

            def number(query: sa.Select[Any]) -> int:
                return int(connection.execute(query).scalar() or 0)

            count = sa.select(sa.func.count())
            queued = count.select_from(trials).join(experiments, experiments.c.id == trials.c.experiment_id)
            return Figures(
                queued=number(
                    queued.where(
                        trials.c.state == TrialState.QUEUED.value,
                        experiments.c.state == ExperimentState.RUNNING.value,
                    )
                ),
                trials=dict.fromkeys(TrialState, 0) | counts(trials.c.state),
                failures=counts(trials.c.failure_kind, trials.c.state == TrialState.FAILED.value),
                suggestions=counts(trials.c.origin),
                experiments=dict.fromkeys(ExperimentState, 0) | counts(experiments.c.state),
                attempts=dict.fromkeys(AttemptState, 0) | counts(attempts.c.state),
                workers=number(count.where(workers.c.last_seen > now - max(self.lease_seconds, 15.0))),
                pauses=number(count.where(pauses.c.until > now)),
                artifact_bytes=number(sa.select(sa.func.sum(artifacts.c.size))),
            )
