"""The last part of a search: repeat candidates near the front with other seeds until the front is settled."""

from collections import Counter
from collections.abc import Sequence

from sparsemod.records import Candidate
from sparsemod.report.membership import Member, Trainings, memberships, next_to_repeat
from sparsemod.search.history import History
from sparsemod.search.settings import REPEATS, RepeatsSpec
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.space.space import Space
from sparsemod.units import TRAINED


class Repeats:
    """The repetitions of a history: how many are left, and which candidate comes next."""

    def __init__(self, config: RepeatsSpec, space: Space, history: History) -> None:
        self._config, self._history, self._space = config, history, space
        used = sum(o.candidate.round == REPEATS and not o.miss for o in history.all)
        self.remaining = max(0, config.trials - used)
        self._first: dict[str, Observation] = {}
        groups: dict[str, list[Observation]] = {}
        for observation, _ in history.completed:
            key = space.key(observation.candidate.parameters)
            self._first.setdefault(key, observation)
            groups.setdefault(key, []).append(observation)
        self._groups = [
            Trainings(
                key,
                tuple(o.values or {} for o in group),
                tuple(o.standard_errors.get(history.quality.name) for o in group),
            )
            for key, group in groups.items()
        ]
        self._members: Sequence[Member] | None = None

    @property
    def members(self) -> Sequence[Member]:
        """All completed candidates with their probabilities of being on the front."""
        if self._members is None:
            self._members = memberships(self._history.objectives, self._groups, self._history.seed)
        return self._members

    def next(self, count: int) -> list[Suggestion]:
        """Return up to `count` repetitions; none while another round has pending trials, or when the front is settled."""
        if self._history.exploring:
            return []
        pending = Counter(self._space.key(o.candidate.parameters) for o in self._history.pending)
        suggestions: list[Suggestion] = []
        for _ in range(min(count, self.remaining)):
            key = next_to_repeat(self.members, pending, self._config.confidence, self._config.seeds)
            if key is None:
                break
            pending[key] += 1
            suggestions.append(_repetition(self._first[key]))
        return suggestions

    def reason(self) -> str:
        """Return why no repetition is left."""
        likely = sum(member.probability >= 0.5 for member in self.members)
        front = f"{likely} candidate{'' if likely == 1 else 's'} on it"
        if next_to_repeat(self.members, {}, self._config.confidence, self._config.seeds) is None:
            return f"the front is settled, {front}"
        return f"all {self._config.trials} repetitions are used, the front is not settled, {front} are likely"


def _repetition(first: Observation) -> Suggestion:
    """Return the same training as `first` with another seed; a morph inherits from the same parent again."""
    candidate = Candidate(
        parameters=first.candidate.parameters,
        origin="repeat",
        round=REPEATS,
        parent=first.candidate.parent,
        operators=first.candidate.operators,
    )
    costs = {name: value for name, value in (first.values or {}).items() if name not in TRAINED}
    return Suggestion(candidate, int(first.planned), costs)
