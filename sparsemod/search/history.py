"""A view of the observations: known, pending and excluded trials, the front, and the state of the rounds.

It depends on nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.objectives import NEAREST
from sparsemod.quality import Quality
from sparsemod.records import TrialState
from sparsemod.search.settings import REPEATS, RoundSpec, search_config
from sparsemod.sources.observation import Observation
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class Round:
    """A round of the spec and the number of its trials not yet suggested."""

    name: str
    number: int
    spec: RoundSpec
    remaining: int


class History:
    """A view of the observations, in order of their index."""

    def __init__(self, spec: ExperimentSpec, space: Space, observations: Sequence[Observation]) -> None:
        self.all = sorted(observations, key=lambda o: o.index)
        self._by_index = {o.index: o for o in self.all}
        self.objectives = spec.objectives_in_force()
        config = search_config(spec)
        self._rounds = config.rounds
        # The networks of earlier experiments that are in this space.
        self.earlier = [one for trial in config.earlier if (one := trial.within(space)) is not None]
        self.seed = spec.seed
        # Suggest each candidate once. A trial that failed by a fault used all its attempts and would fail
        # again.
        self.seen = {space.key(o.candidate.parameters) for o in self.all}
        self.completed = [
            (o, o.values)
            for o in self.all
            if o.state is TrialState.COMPLETED
            and o.values is not None
            and all(math.isfinite(o.values.get(name, math.nan)) for name in spec.objectives)
        ]
        self.failed = [o for o in self.all if o.state is TrialState.FAILED and not o.miss]
        # Trials that the stopping rule ended, with the forecast of their metric and the deviation of its logit.
        self.forecasts = [(o, *o.forecast) for o in self.all if o.forecast is not None]
        self.pending = [o for o in self.all if o.pending]
        # Pending trials of the rounds: repetitions add no candidate.
        self.exploring = [o for o in self.pending if o.candidate.round != REPEATS]
        self.rows: list[Mapping[str, float]] = [values for _, values in self.completed]
        self.explored_rows = [values for o, values in self.completed if o.candidate.round != REPEATS]
        self.front = self.objectives.front(self.rows)
        # While nothing is feasible, the search starts from the trials that come nearest.
        self.bases = self.front or self.objectives.nearest_misses(self.rows, NEAREST)
        self.quality = Quality.of(spec.quality, self.objectives)
        self.with_error = [
            i for i, row in enumerate(self.rows) if math.isfinite(row.get(self.quality.name, math.nan))
        ]
        self.models_error = spec.quality in spec.objectives or spec.quality in self.objectives.budgets

    @property
    def bad_error(self) -> float:
        """Return the task's metric assumed for a trial that diverged or ended in a fault: at least the worst measured one."""
        name = self.quality.name
        worst = [values[name] for values in self.rows if name in values]
        most = self.quality.most
        return min(most, max([self.objectives.reference.get(name, most), *worst]))

    def epochs(self, observation: Observation) -> float:
        """Return the epochs of training in the observation's weights; of a pending trial, those after it.

        A child counts its parent's epochs too.
        """
        return observation.epochs if observation.epochs > 0 else self.whole_epochs(observation)

    def whole_epochs(self, observation: Observation) -> float:
        """Return the epochs of training in the weights after a training to its end, as planned."""
        parent = observation.candidate.parent
        inherited = 0.0
        if parent is not None and parent in self._by_index and parent < observation.index:
            inherited = self.epochs(self._by_index[parent])
        rounds = {"r1": self._rounds.r1, "r2": self._rounds.r2, "r3": self._rounds.r3}
        of_round = rounds.get(observation.candidate.round, self._rounds.r1).epochs
        return inherited + (observation.planned or float(of_round))

    def rounds(self) -> list[Round]:
        """Return the rounds with trials left to suggest.

        A candidate that was never trained (see `Observation.miss`) is no trial; a failed trial is one.
        """
        counted = [o.candidate.round for o in self.all if not o.miss]
        rounds = self._rounds
        plan: list[tuple[str, RoundSpec]] = [("r1", rounds.r1), ("r2", rounds.r2), ("r3", rounds.r3)]
        return [
            Round(name, number, spec, spec.trials - counted.count(name))
            for number, (name, spec) in enumerate(plan, 1)
            if counted.count(name) < spec.trials
        ]

    def misses(self) -> int:
        """Return the number of consecutive misses, up to the latest observation."""
        count = 0
        for observation in reversed(self.all):
            if not observation.miss:
                break
            count += 1
        return count

    def any_feasible(self) -> bool:
        """Return whether any candidate could be built and met the budgets."""
        return any(not o.miss for o in self.all)

    def emptiness(self) -> str:
        """Describe in one sentence how few candidates are feasible."""
        misses = [o for o in self.all if o.miss]
        rows = [o.values for o in misses if o.values is not None and o.state is TrialState.INFEASIBLE]
        broken = sum(o.state is TrialState.FAILED for o in misses)
        parts = []
        for name, limit in self.objectives.budgets.items():
            values = [row[name] for row in rows if name in row]
            over = sum(not value <= limit for value in values)
            if over:
                parts.append(f"{name} <= {limit:g} excludes {over} of them (smallest seen {min(values):g})")
        if broken:
            parts.append(f"{broken} of them cannot be built")
        feasible = len(self.all) - len(misses)
        return f"{feasible} of {len(self.all)} draws meet the budgets; " + "; ".join(
            parts or ["no costs are known"]
        )
