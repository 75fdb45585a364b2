"""The experiment's stopping rule, asked when an attempt reports epochs.

The decision is stored with the trial, so that it survives a restart of the server and the loss of the worker. The
worker reads it from the answer to its next report and ends the trial between two epochs.
"""

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog

from service.schemas.workers import Heartbeat
from service.store.engine import Clock
from service.store.pauses import Pauses
from service.store.tables import SPEC_TEXT, attempts, curve_points, experiments, trials
from service.store.trial_rows import candidate, curve_point, values_by_trial
from sparsemod.records import MAX_EPOCH, CurvePoint, TrialState
from sparsemod.stopping import Judge, Training

log = structlog.get_logger("store")

_KEPT = 16
"""Number of experiments whose ended trainings are cached."""

_AT_ONCE = 500

_TRIAL = (
    sa.select(trials, SPEC_TEXT)
    .join(attempts, attempts.c.trial_id == trials.c.id)
    .join(experiments, experiments.c.id == trials.c.experiment_id)
    .where(attempts.c.id == sa.bindparam("which"))
)
_TRAINED = sa.select(
    trials.c.id, trials.c.index, trials.c.state, trials.c.epochs, trials.c.parent, trials.c.costs, trials.c.finished_event
).where(
    trials.c.experiment_id == sa.bindparam("which"),
    trials.c.state.in_([state.value for state in (TrialState.COMPLETED, TrialState.STOPPED, TrialState.RUNNING)]),
)  # fmt: skip


@dataclass
class _Experiment:
    """A judge for one version of a spec, None for a spec without a rule; the ended trainings by id and event of the end."""

    version: int
    judge: Judge | None
    ended: dict[tuple[int, int], Training] = field(default_factory=dict)


class Stopping(Pauses):
    """Methods of the store for stopping rules."""

    def __init__(self, engine: sa.Engine, clock: Clock = time.time, lease_seconds: float = 60.0) -> None:
        super().__init__(engine, clock, lease_seconds)
        self._judged: OrderedDict[int, _Experiment] = OrderedDict()
        self._judge_lock = threading.Lock()

    def judged(self, attempt_id: int, trial: Any, beat: Heartbeat) -> Heartbeat:
        """Return the answer to a report of epochs: with `stop` when the rule ends the trial.

        `trial`: a row of RUNNING_TRIAL. A rule that fails ends nothing; the log says why.
        """
        known = self._judged.get(trial.experiment_id)
        if beat.stop or (known is not None and known.version == trial.spec_version and known.judge is None):
            return beat
        try:
            stops = self._judge(attempt_id, trial.spec_version)
        except Exception:
            # The rule may come from another package. Its failure must not end or block trainings.
            log.exception("stopping rule failed", experiment=trial.experiment_id, attempt=attempt_id)
            return beat
        return beat.model_copy(update={"stop": True}) if stops else beat

    def _judge(self, attempt_id: int, version: int) -> bool:
        """Judge an attempt's trial and store the decision to end it. Return whether there is one."""
        with self._read() as connection:
            row = connection.execute(_TRIAL, {"which": attempt_id}).mappings().one_or_none()
            if row is None or row["spared"] or row["state"] != TrialState.RUNNING:
                return False
            with self._judge_lock:
                known = self._known(row, version)
                if known.judge is None or not known.judge.judges(candidate(row)):
                    return False
                others = self._trainings(connection, row["experiment_id"], known)
        mine = next((training for training in others if training.index == row["index"]), None)
        if mine is None:
            return False
        decision = known.judge.decide(mine, [one for one in others if one is not mine])
        if decision is None:
            return False
        with self._write() as connection:
            changed = connection.execute(
                sa.update(trials)
                .where(
                    trials.c.id == row["id"],
                    trials.c.state == TrialState.RUNNING.value,
                    trials.c.stop_requested.is_(sa.false()),
                    trials.c.spared.is_(sa.false()),
                )
                .values(stop_requested=True, stopping=decision.model_dump(mode="json"))
            ).rowcount
        return changed == 1

    def _known(self, row: Any, version: int) -> _Experiment:
        """Return the cached judge and trainings of the trial's experiment."""
        identity = row["experiment_id"]
        known = self._judged.get(identity)
        if known is None or known.version != version:
            stored = self._stored_text(identity, row["spec_text"])
            rule = None if stored.error is not None else stored.spec.stopping
            judge = None if rule is None or not rule.known else Judge(stored.spec)
            known = self._judged[identity] = _Experiment(version, judge)
        self._judged.move_to_end(identity)
        while len(self._judged) > _KEPT:
            self._judged.popitem(last=False)
        return known

    def _trainings(self, connection: sa.Connection, experiment_id: int, known: _Experiment) -> list[Training]:
        """Return the experiment's trainings: ended ones in the order of their end, then running ones."""
        rows = connection.execute(_TRAINED, {"which": experiment_id}).mappings().all()
        ended = sorted(
            (row["finished_event"], row["id"]) for row in rows if row["finished_event"] is not None
        )
        known.ended = {key: known.ended[key] for key in ended if key in known.ended}
        fresh = [row for row in rows if (row["finished_event"], row["id"]) not in known.ended]
        curves = _curves(connection, [row["id"] for row in fresh])
        values: dict[int, dict[str, float]] = {}
        completed = [row["id"] for row in fresh if row["state"] == TrialState.COMPLETED]
        for start in range(0, len(completed), _AT_ONCE):
            values |= values_by_trial(connection, trials.c.id.in_(completed[start : start + _AT_ONCE]))
        running = []
        for row in fresh:
            training = Training.of(
                row["index"], row["epochs"], row["parent"], row["costs"], curves[row["id"]], values.get(row["id"], {})
            )  # fmt: skip
            if row["finished_event"] is None:
                running.append(training)
            else:
                known.ended[row["finished_event"], row["id"]] = training
        return [*(known.ended[key] for key in ended), *running]


def _curves(connection: sa.Connection, identities: Sequence[int]) -> dict[int, list[CurvePoint]]:
    """Return id of the trial -> its curve; the latest attempt's point wins where an epoch was repeated."""
    found: dict[int, dict[int, CurvePoint]] = defaultdict(dict)
    for start in range(0, len(identities), _AT_ONCE):
        rows = connection.execute(
            sa.select(curve_points, attempts.c.trial_id)
            .join(attempts, attempts.c.id == curve_points.c.attempt_id)
            .where(
                attempts.c.trial_id.in_(identities[start : start + _AT_ONCE]),
                curve_points.c.epoch <= MAX_EPOCH,
            )
            .order_by(curve_points.c.attempt_id)
        ).mappings()
        for row in rows:
            point = {name: value for name, value in row.items() if name != "trial_id"}
            found[row["trial_id"]][row["epoch"]] = curve_point(point)
    return {
        identity: [points[epoch] for epoch in sorted(points)]
        for identity, points in ((one, found[one]) for one in identities)
    }
