"""Data for the dashboard's plots: trials as columns, attempts as columns, and the event counters of its
streams."""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from service.schemas.dashboard import Points, Revision, Timeline
from service.store.engine import Clock
from service.store.experiments import NEW_SPEC
from service.store.front import Fronts
from service.store.tables import attempts, events, experiments, trials
from service.store.trial_rows import values_by_trial
from sparsemod.errors import InvalidInput
from sparsemod.records import TrialState
from sparsemod.units import METRICS

_MANY = 2000
"""Above this number of new events all trials are sent, which is cheaper than finding the changed ones."""

_STATES = tuple(TrialState)

_KEPT = 4
"""Number of experiments whose finished trials are cached, some kilobytes each."""


@dataclass(slots=True)
class _Trial:
    """A trial as a row of the columns."""

    index: int
    state: int
    round: str
    origin: str
    parent: int | None
    epochs: int
    finished: int | None
    finished_at: float | None
    values: dict[str, Any]
    parameters: dict[str, Any]
    operators: list[str]


@dataclass
class _Cached:
    """The finished trials of an experiment by index. `seen`: the event of the last one."""

    seen: int = 0
    trials: dict[int, _Trial] = field(default_factory=dict)


class Series(Fronts):
    """Methods of the store that read many trials at once."""

    def revisions(self, identities: Collection[int] | None = None) -> dict[int, Revision]:
        """Return experiment id -> last event counter and state, for `identities` or all experiments.

        One small query.
        """
        query = sa.select(experiments.c.id, experiments.c.events, experiments.c.state)
        if identities is not None:
            query = query.where(experiments.c.id.in_(list(identities)))
        with self._read() as connection:
            return {
                row.id: Revision(experiment=row.id, revision=row.events, state=row.state)
                for row in connection.execute(query)
            }

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        super().__init__(engine, clock, lease_seconds)
        self._cache: OrderedDict[int, _Cached] = OrderedDict()
        self._cache_lock = threading.Lock()

    def points_since(self, experiment_id: int, after: int = 0) -> Points:
        """Return the trials that changed after event `after` as columns.

        All trials for 0 or after very many changes. Raises NotFound.
        """
        with self._read() as connection:
            row = self._row(connection, experiment_id)
            revision: int = row["events"]
            front, volumes = self._front(connection, row)
            changed = self._changed(connection, experiment_id, after, revision)
            if changed is None:
                everything = self._all(connection, experiment_id)
                return _points(experiment_id, revision, True, everything, front, volumes)
            rows: list[_Trial] = []
            for start in range(0, len(changed), 500):
                part = trials.c.index.in_(changed[start : start + 500])
                rows += self._some(connection, trials.c.experiment_id == experiment_id, part)
        return _points(experiment_id, revision, False, rows, front, volumes)

    def _front(self, connection: sa.Connection, row: Any) -> tuple[list[int], dict[int, float]]:
        """Return the trials on the front, and the hypervolume after each completed trial, by index.

        Both are empty when the limits of the stored spec are unknown here, such as those of a device.
        """
        try:
            _, members, history, _ = self._history(connection, row)
        except InvalidInput:
            return [], {}
        return members, {point.index: point.hypervolume for point in history}

    def _all(self, connection: sa.Connection, experiment_id: int) -> "list[_Trial]":
        """Return all trials. Finished trials never change: they are cached, and only the others are read."""
        with self._cache_lock:
            cached = self._cache.setdefault(experiment_id, _Cached())
            self._cache.move_to_end(experiment_id)
            while len(self._cache) > _KEPT:
                self._cache.popitem(last=False)
            fresh = sa.or_(trials.c.finished_event.is_(None), trials.c.finished_event > cached.seen)
            read = self._some(connection, trials.c.experiment_id == experiment_id, fresh)
            over = [trial for trial in read if trial.finished is not None]
            cached.trials.update({trial.index: trial for trial in over})
            cached.seen = max([cached.seen, *(trial.finished or 0 for trial in over)])
            everything = {**cached.trials, **{trial.index: trial for trial in read}}
        return [everything[index] for index in sorted(everything)]

    def _some(self, connection: sa.Connection, *where: Any) -> "list[_Trial]":
        """Return the trials that meet all conditions, by index."""
        values = values_by_trial(connection, *where)
        rows = connection.execute(
            sa.select(
                trials.c.id, trials.c.index, trials.c.state, trials.c.round, trials.c.origin, trials.c.parent, trials.c.epochs,
                trials.c.parameters, trials.c.operators, trials.c.costs, trials.c.finished_event, trials.c.finished_at,
            ).where(*where).order_by(trials.c.index)
        )  # fmt: skip
        return [
            _Trial(
                index, _STATES.index(state), round_name, origin, parent, epochs, finished,
                None if at is None else round(at, 3), _short({**(costs or {}), **values.get(number, {})}), _short(parameters), operators,
            )
            for number, index, state, round_name, origin, parent, epochs, parameters, operators, costs, finished, at in rows
        ]  # fmt: skip

    def _changed(
        self, connection: sa.Connection, experiment_id: int, after: int, revision: int
    ) -> list[int] | None:
        """Return the indices of the trials with events after `after`. None means all trials.

        A new spec may change the front and every hypervolume.
        """
        if not 0 < after <= revision or revision - after > _MANY:
            return None
        dropped = sa.select(experiments.c.events_dropped).where(experiments.c.id == experiment_id)
        if after < connection.execute(dropped).scalar_one():
            return None  # retention has deleted some of these events
        rows = connection.execute(
            sa.select(events.c.kind, events.c.data).where(
                events.c.experiment_id == experiment_id,
                events.c.counter > after,
                events.c.kind.in_(["trial", "experiment"]),
            )
        ).all()
        if any(kind == "experiment" and data.get("change") in NEW_SPEC for kind, data in rows):
            return None
        return sorted({int(data["index"]) for kind, data in rows if kind == "trial"})

    def timeline(self, experiment_id: int, since: float = 0.0) -> Timeline:
        """Return the attempts that ran after `since` (seconds since 1970) as columns, in the order of their
        start.

        Raises NotFound.
        """
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


def _points(
    experiment_id: int,
    revision: int,
    full: bool,
    rows: "list[_Trial]",
    front: list[int],
    volumes: dict[int, float],
) -> Points:
    names: dict[str, None] = {}
    metrics: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row.parameters))
        metrics.update(dict.fromkeys(row.values))
    ordered = [*(name for name in METRICS if name in metrics), *sorted(metrics.keys() - METRICS.keys())]
    rounds, origins = _Places(), _Places()
    # Values from the store's own database need no validation.
    return Points.model_construct(
        experiment=experiment_id,
        revision=revision,
        full=full,
        states=_STATES,
        index=[row.index for row in rows],
        state=[row.state for row in rows],
        round=[rounds[row.round] for row in rows],
        origin=[origins[row.origin] for row in rows],
        rounds=tuple(rounds),
        origins=tuple(origins),
        parent=[row.parent for row in rows],
        epochs=[row.epochs for row in rows],
        finished=[row.finished for row in rows],
        finished_at=[row.finished_at for row in rows],
        values={name: [row.values.get(name) for row in rows] for name in ordered},
        parameters={name: [row.parameters.get(name) for row in rows] for name in names},
        operators={str(row.index): row.operators for row in rows if row.operators},
        front=front,
        hypervolume=[volumes.get(row.index) for row in rows],
    )


class _Places(dict[str, int]):
    """Word -> its index in the order of the first look-ups."""

    def __missing__(self, word: str) -> int:
        self[word] = len(self)
        return self[word]


def _short(values: dict[str, Any]) -> dict[str, Any]:
    """Round floats to six significant digits, more than a plot shows."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in values.items()
    }
