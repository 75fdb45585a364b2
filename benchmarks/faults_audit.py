"""The auditor of benchmarks/faults.py: rules that hold while faults happen, and those that hold afterwards.

The rules are listed in docs/reliability.md.
"""

import collections
import math
import threading
from dataclasses import dataclass, field

import sqlalchemy as sa

from service.files.artifacts import ArtifactFiles
from service.files.doctor import examine
from service.schemas.trials import AttemptState
from service.store import Store
from service.store.tables import attempts, events, trials
from sparsemod.errors import ServerUnavailable
from sparsemod.records import TrialState


@dataclass
class Watch:
    """What the auditor has seen. `look` is called again and again; `violations` stays empty."""

    store: Store
    experiment: int
    finished: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Trial -> state and event of its end, as first seen."""
    last_event: int = 0
    looks: int = 0
    violations: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Check the rules that hold at every moment."""
        with self.store._read() as connection:
            rows = list(
                connection.execute(
                    sa.select(trials.c.id, trials.c.index, trials.c.state, trials.c.finished_event).where(
                        trials.c.experiment_id == self.experiment
                    )
                )
            )
            running = collections.Counter(
                connection.execute(
                    sa.select(attempts.c.trial_id)
                    .join(trials, trials.c.id == attempts.c.trial_id)
                    .where(
                        attempts.c.state == AttemptState.RUNNING.value,
                        trials.c.experiment_id == self.experiment,
                    )
                ).scalars()
            )
            newest = connection.execute(
                sa.select(sa.func.max(events.c.counter)).where(events.c.experiment_id == self.experiment)
            ).scalar()
        self.looks += 1
        for row in rows:
            index, seen = row._mapping["index"], self.finished.get(row._mapping["index"])
            over = TrialState(row.state).finished
            if seen is not None and seen != (row.state, row.finished_event):
                self._wrong(
                    f"trial {index} was {seen[0]} at event {seen[1]} and is {row.state} at {row.finished_event}"
                )
            if over and seen is None:
                self.finished[index] = (row.state, row.finished_event)
            if running[row.id] > 1:
                self._wrong(f"trial {index} has {running[row.id]} running attempts")
            if (running[row.id] == 1) != (row.state == TrialState.RUNNING.value):
                self._wrong(f"trial {index} is {row.state} with {running[row.id]} running attempts")
        if set(self.finished) - {row._mapping["index"] for row in rows}:
            self._wrong("a finished trial is gone")
        if (newest or 0) < self.last_event:
            self._wrong(f"the last event was {self.last_event} and is {newest}")
        self.last_event = newest or 0

    def _wrong(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)

    def run(self, ended: threading.Event, pause: float = 0.3) -> None:
        """Look until `ended`. A database that does not answer for a moment is no violation."""
        while not ended.wait(pause):
            try:
                self.look()
            except ServerUnavailable:
                continue


def audit(store: Store, files: ArtifactFiles, experiment: int) -> list[str]:
    """Return what is wrong in an experiment when nothing runs any more."""
    found: list[str] = []
    view = store.experiment(experiment)
    views = [store.trial(experiment, one.index) for one in store.trials(experiment)[0]]
    if [one.index for one in views] != list(range(len(views))):
        found.append("the indices of the trials have gaps")
    completed = {one.index for one in views if one.state is TrialState.COMPLETED}
    for one in views:
        endings = collections.Counter(attempt.state for attempt in one.attempts)
        if endings[AttemptState.RUNNING]:
            found.append(f"trial {one.index} still runs")
        expected = 1 if one.state is TrialState.COMPLETED else 0
        if one.state is not TrialState.INFEASIBLE and endings[AttemptState.COMPLETED] != expected:
            found.append(
                f"trial {one.index} is {one.state.value} with {endings[AttemptState.COMPLETED]} completed attempts"
            )
        if one.state is TrialState.FAILED:
            found.append(f"trial {one.index} has failed: {one.failure}")
        if one.index not in completed:
            continue
        epochs = [point.epoch for point in store.curve(experiment, one.index)]
        if epochs != list(range(1, one.epochs + 1)):
            found.append(f"trial {one.index} has the epochs {epochs} of {one.epochs}")
        kinds = {file.kind for file in one.artifacts}
        if not {"weights", "network"} <= kinds:
            found.append(f"trial {one.index} has only the files {sorted(kinds)}")
    found += _events(store, experiment, completed)
    state = examine(store, files, content=True)
    found += [f"file {digest} is missing" for digest in state.missing]
    found += [f"file {digest} is damaged" for digest in state.damaged]
    order = [
        event.data["index"]
        for event in _all_events(store, experiment)
        if event.kind == "trial" and event.data.get("state") == "completed"
    ]
    values = {one.index: one.values() for one in views}
    expected_volumes = view.spec.objectives_in_force().history(
        [values[index] for index in order if index in values]
    )
    volumes = [point.hypervolume for point in store.pareto(experiment).history]
    if len(volumes) != len(expected_volumes) or not all(
        math.isclose(a, b, rel_tol=1e-9) for a, b in zip(volumes, expected_volumes, strict=False)
    ):
        found.append("the history of the hypervolume differs from the results")
    return found


def _all_events(store: Store, experiment: int) -> list[object]:
    found: list[object] = []
    while page := store.events(experiment, len(found)):
        found += page
    return found


def _events(store: Store, experiment: int, completed: set[int]) -> list[str]:
    found = []
    listed = _all_events(store, experiment)
    if [event.counter for event in listed] != list(range(1, len(listed) + 1)):
        found.append("the counters of the events have gaps")
    ends = collections.Counter(
        event.data["index"]
        for event in listed
        if event.kind == "trial" and event.data.get("state") == "completed"
    )
    found += [f"trial {index} was completed by {count} events" for index, count in ends.items() if count > 1]
    if set(ends) != completed:
        found.append(f"events and states differ: {sorted(set(ends) ^ completed)}")
    return found
