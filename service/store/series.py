"""What the dashboard draws: all trials as columns, attempts as columns, and the counters that its streams follow."""

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from service.models import attempts, events, experiments, measurements, trials
from service.schemas_dashboard import Points, Revision, Timeline
from service.store.engine import Base
from service.store.experiments import ROUNDS, Experiments
from sparsemod.records import Origin, TrialState
from sparsemod.units import METRICS

_MANY = 2000
"""Above so many events since the caller's revision, all trials are sent: that is cheaper than to find out which have changed."""

_STATES = tuple(TrialState)
_ORIGINS: tuple[Origin, ...] = ("sobol", "gp", "morphism", "manual")


class Series(Experiments, Base):
    """The part of the store that reads many trials at once."""

    def revisions(self, identities: Collection[int] | None = None) -> dict[int, Revision]:
        """Experiment -> counter of its last event and its state; of all experiments when none are named. One small query."""
        query = sa.select(experiments.c.id, experiments.c.events, experiments.c.state)
        if identities is not None:
            query = query.where(experiments.c.id.in_(list(identities)))
        with self._read() as connection:
            return {
                row.id: Revision(experiment=row.id, revision=row.events, state=row.state)
                for row in connection.execute(query)
            }

    def points_since(self, experiment_id: int, after: int = 0) -> Points:
        """The trials that changed after event `after`, as columns; all of them for 0 and where very many have. Raises NotFound."""
        with self._read() as connection:
            row = self._row(connection, experiment_id)
            revision: int = row["events"]
            changed = self._changed(connection, experiment_id, after, revision)
            mine: list[Any] = [trials.c.experiment_id == experiment_id]
            found: list[Any] = []
            values: dict[int, dict[str, float]] = {}
            for part in _parts(changed):
                where = mine if part is None else [*mine, trials.c.index.in_(part)]
                found += connection.execute(
                    sa.select(
                        trials.c.id, trials.c.index, trials.c.state, trials.c.round, trials.c.origin, trials.c.parent,
                        trials.c.epochs, trials.c.parameters, trials.c.operators, trials.c.costs, trials.c.finished_event,
                        trials.c.finished_at,
                    ).where(*where).order_by(trials.c.index)
                ).all()  # fmt: skip
                measured = connection.execute(
                    sa.select(measurements.c.trial_id, measurements.c.metric, measurements.c.value)
                    .join(trials, trials.c.id == measurements.c.trial_id)
                    .where(*where, measurements.c.split.is_distinct_from("test"))
                )
                for trial_id, name, value in measured:
                    values.setdefault(trial_id, {})[name] = value
        return _points(experiment_id, revision, changed is None, found, values)

    def _changed(
        self, connection: sa.Connection, experiment_id: int, after: int, revision: int
    ) -> list[int] | None:
        """The indices of the trials that events after `after` are about; None stands for all."""
        if not 0 < after <= revision or revision - after > _MANY:
            return None
        rows = connection.execute(
            sa.select(events.c.data).where(
                events.c.experiment_id == experiment_id, events.c.counter > after, events.c.kind == "trial"
            )
        ).scalars()
        return sorted({int(data["index"]) for data in rows})

    def timeline(self, experiment_id: int, since: float = 0.0) -> Timeline:
        """The attempts that ran after `since` (seconds since 1970), as columns in the order of their start. Raises NotFound."""
        now = self.clock()
        with self._read() as connection:
            self._row(connection, experiment_id)
            query = (
                sa.select(
                    attempts.c.id, trials.c.index, attempts.c.worker, attempts.c.device, attempts.c.state,
                    attempts.c.started_at, attempts.c.ended_at,
                )
                .join(trials, trials.c.id == attempts.c.trial_id)
                .where(trials.c.experiment_id == experiment_id)
                .order_by(attempts.c.id)
            )  # fmt: skip
            if since > 0:
                query = query.where(sa.or_(attempts.c.ended_at.is_(None), attempts.c.ended_at >= since))
            rows = connection.execute(query).all()
        names = sorted({(row.worker, row.device) for row in rows})
        place = {name: number for number, name in enumerate(names)}
        return Timeline(
            experiment=experiment_id,
            now=now,
            workers=tuple(name for name, _ in names),
            devices=tuple(device for _, device in names),
            attempt=[row.id for row in rows],
            trial=[row._mapping["index"] for row in rows],
            worker=[place[row.worker, row.device] for row in rows],
            state=[row.state for row in rows],
            started=[round(row.started_at, 3) for row in rows],
            ended=[None if row.ended_at is None else round(row.ended_at, 3) for row in rows],
        )


def _parts(changed: list[int] | None) -> Iterable[list[int] | None]:
    if changed is None:
        return [None]
    return [changed[start : start + 500] for start in range(0, len(changed), 500)]


def _points(
    experiment_id: int, revision: int, full: bool, rows: list[Any], values: dict[int, dict[str, float]]
) -> Points:
    held = [values.get(row.id) or row.costs or {} for row in rows]
    metrics = sorted(
        {name for item in held for name in item}, key=lambda n: (n not in METRICS, list(METRICS).index(n) if n in METRICS else 0, n)
    )  # fmt: skip
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row.parameters))
    return Points(
        experiment=experiment_id,
        revision=revision,
        full=full,
        states=_STATES,
        rounds=ROUNDS,
        origins=_ORIGINS,
        index=[row._mapping["index"] for row in rows],
        state=[_STATES.index(row.state) for row in rows],
        round=[ROUNDS.index(row.round) for row in rows],
        origin=[_ORIGINS.index(row.origin) for row in rows],
        parent=[row.parent for row in rows],
        epochs=[row.epochs for row in rows],
        finished=[row.finished_event for row in rows],
        finished_at=[None if row.finished_at is None else round(row.finished_at, 3) for row in rows],
        values={name: [_short(item.get(name)) for item in held] for name in metrics},
        parameters={name: [_short(row.parameters.get(name)) for row in rows] for name in names},
        operators={str(row._mapping["index"]): row.operators for row in rows if row.operators},
    )


def _short(value: Any) -> Any:
    """Six digits are more than a plot shows."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
