"""The Pareto front of an experiment and the history of its hypervolume.

The history is cached in memory and extended by the trials that finished since. Finished trials never change.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from service.schemas.trials import Ancestor, HistoryPoint, ParetoPoint, ParetoView, TrialView
from service.store.engine import Clock
from service.store.experiments import Experiments
from service.store.tables import measurements, trials
from service.store.trials import Trials
from sparsemod.objectives import Objectives, hypervolume
from sparsemod.records import TrialState

_KEPT = 64
"""Number of experiments whose history is cached."""


@dataclass
class _History:
    """A front that grows trial by trial.

    `indices`: the trials on the front. `seen`: the last event that was processed.
    """

    version: int
    objectives: Objectives
    seen: int = 0
    points: list[HistoryPoint] = field(default_factory=list)
    front: Any = None
    indices: list[int] = field(default_factory=list)

    def add(self, index: int, round_name: str, values: dict[str, float]) -> None:
        """Add a completed trial. Call in the order of completion.

        A trial without a value of some objective (the spec was replaced since) is no point of the front.
        """
        last = self.points[-1].hypervolume if self.points else 0.0
        if self.front is None:
            self.front = np.empty((0, len(self.objectives.names)))
        complete = all(name in values for name in self.objectives.names)
        point = self.objectives.vector(values) if complete else None
        if (
            point is not None
            and self.objectives.feasible(values)
            and not np.any(np.all(self.front <= point, axis=1))
        ):
            keep = ~np.all(point <= self.front, axis=1)
            self.front = np.vstack([self.front[keep], point])
            self.indices = [i for i, kept in zip(self.indices, keep, strict=True) if kept] + [index]
            if np.all(point < 1.0):
                last = max(last, hypervolume(self.front))
        self.points.append(
            HistoryPoint(trials=len(self.points) + 1, hypervolume=last, index=index, round=round_name)
        )


class Fronts(Trials, Experiments):
    """Methods of the store for results."""

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        super().__init__(engine, clock, lease_seconds)
        self._histories: OrderedDict[int, _History] = OrderedDict()
        self._history_lock = threading.Lock()

    def pareto(self, experiment_id: int) -> ParetoView:
        """Return the front of the completed trials that meet the budgets, sorted by the first objective.

        Raises NotFound.
        """
        with self._read() as connection:
            row = self._row(connection, experiment_id)
            history = self._history(connection, row)
        objectives = history.objectives
        # Another thread may have extended the history beyond the snapshot above. A new snapshot sees at
        # least as much.
        with self._read() as connection:
            query = sa.select(trials).where(
                trials.c.experiment_id == experiment_id, trials.c.index.in_(history.indices)
            )
            views = self._views(connection, list(connection.execute(query).mappings()))
            parents = {
                r._mapping["index"]: (r.parent, tuple(r.operators))
                for r in connection.execute(
                    sa.select(trials.c.index, trials.c.parent, trials.c.operators).where(
                        trials.c.experiment_id == experiment_id, trials.c.parent.is_not(None)
                    )
                )
            }
            views.sort(key=lambda view: (view.values()[objectives.names[0]], view.index))
            return ParetoView(
                experiment=experiment_id,
                name=row["name"],
                objectives=objectives.names,
                reference_point=dict(objectives.reference),
                budgets=dict(objectives.budgets),
                scales=dict(objectives.scales),
                points=tuple(_point(view, parents) for view in views),
                hypervolume=history.points[-1].hypervolume if history.points else 0.0,
                history=tuple(history.points),
            )

    def _history(self, connection: sa.Connection, row: Any) -> _History:
        with self._history_lock:
            history = self._histories.get(row["id"])
            if history is None or history.version != row["spec_version"]:
                spec = self._stored(row["id"], row["spec"]).spec
                objectives = spec.resolved_objectives()
                history = _History(row["spec_version"], objectives)
            fresh: dict[int, tuple[int, str, int, dict[str, float]]] = {}
            for trial in connection.execute(
                sa.select(
                    trials.c.index,
                    trials.c.round,
                    trials.c.finished_event,
                    measurements.c.metric,
                    measurements.c.value,
                )
                .join(measurements, measurements.c.trial_id == trials.c.id)
                .where(
                    trials.c.experiment_id == row["id"],
                    trials.c.state == TrialState.COMPLETED,
                    trials.c.finished_event > history.seen,
                    measurements.c.split.is_distinct_from("test"),
                )
            ):
                entry = fresh.setdefault(
                    trial.finished_event, (trial._mapping["index"], trial.round, trial.finished_event, {})
                )
                entry[3][trial.metric] = trial.value
            for event in sorted(fresh):
                index, round_name, _, values = fresh[event]
                history.add(index, round_name, values)
                history.seen = event
            self._histories[row["id"]] = history
            self._histories.move_to_end(row["id"])
            while len(self._histories) > _KEPT:
                self._histories.popitem(last=False)
            return _History(
                history.version,
                history.objectives,
                history.seen,
                list(history.points),
                None,
                list(history.indices),
            )


def _point(view: TrialView, parents: dict[int, tuple[int, tuple[str, ...]]]) -> ParetoPoint:
    lineage: list[Ancestor] = []
    at = view.index
    while at in parents and len(lineage) <= len(parents):
        parent, operators = parents[at]
        lineage.append(Ancestor(index=parent, operators=operators))
        at = parent
    return ParetoPoint(
        index=view.index,
        origin=view.candidate.origin,
        round=view.candidate.round,
        parameters=view.candidate.parameters,
        measurements=view.measurements,
        lineage=tuple(lineage),
        artifacts=view.artifacts,
    )
