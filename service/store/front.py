"""The Pareto front of an experiment and the history of its hypervolume.

The history is cached in memory and extended by the trials that finished since. Finished trials never change.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import ParetoPoint, ParetoView, TrialView
from service.store.engine import Clock
from service.store.experiments import Experiments
from service.store.tables import trials
from service.store.trial_rows import values_by_trial
from service.store.trials import Trials
from sparsemod.objectives import GrowingFront, Objectives
from sparsemod.records import HistoryPoint, NearMiss, TrialState
from sparsemod.report.pareto import Parents, front_point, near_misses

_KEPT = 64
"""Number of experiments whose history is cached."""


class _History(GrowingFront):
    """The front of an experiment, with one point of the history for each completed trial.

    `version`: of the spec. `seen`: the last event that was processed.
    """

    def __init__(self, version: int, objectives: Objectives) -> None:
        super().__init__(objectives)
        self.version, self.seen = version, 0
        self.points: list[HistoryPoint] = []

    def complete(self, index: int, round_name: str, values: Mapping[str, float]) -> None:
        """Add a completed trial. Call in the order of completion."""
        volume = self.add(index, values)
        self.points.append(
            HistoryPoint(trials=len(self.points) + 1, hypervolume=volume, index=index, round=round_name)
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
            objectives, members, points, nearest = self._history(connection, row)
        # Another thread may have extended the history beyond the snapshot above. A new snapshot sees at
        # least as much.
        with self._read() as connection:
            query = sa.select(trials).where(
                trials.c.experiment_id == experiment_id, trials.c.index.in_(members)
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
                nearest=nearest,
                hypervolume=points[-1].hypervolume if points else 0.0,
                history=points,
            )

    def _history(
        self, connection: sa.Connection, row: Any
    ) -> tuple[Objectives, list[int], tuple[HistoryPoint, ...], tuple[NearMiss, ...]]:
        """Return the objectives, the indices of the trials on the front, the history, and the nearest misses."""
        with self._history_lock:
            history = self._histories.get(row["id"])
            if history is None or history.version != row["spec_version"]:
                spec = self._stored(row["id"], row["spec"]).spec
                history = _History(row["spec_version"], spec.objectives_in_force())
            fresh = (
                trials.c.experiment_id == row["id"],
                trials.c.state == TrialState.COMPLETED,
                trials.c.finished_event > history.seen,
            )
            values = values_by_trial(connection, *fresh)
            columns = (trials.c.id, trials.c.index, trials.c.round, trials.c.finished_event)
            for trial in connection.execute(
                sa.select(*columns).where(*fresh).order_by(trials.c.finished_event)
            ):
                history.complete(trial._mapping["index"], trial.round, values.get(trial.id, {}))
                history.seen = trial.finished_event
            self._histories[row["id"]] = history
            self._histories.move_to_end(row["id"])
            while len(self._histories) > _KEPT:
                self._histories.popitem(last=False)
            return history.objectives, list(history.members), tuple(history.points), near_misses(history)


def _point(view: TrialView, parents: Parents) -> ParetoPoint:
    point = front_point(view, parents)
    return ParetoPoint(**{name: getattr(point, name) for name in ParetoPoint.model_fields})
