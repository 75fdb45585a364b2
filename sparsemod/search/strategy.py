"""The search: the next candidates as a function of the spec and the observations alone.

A new `Search` can rebuild all state of an old one. Seeds come from the spec's seed, the round and the
number of observations; caches save time without changing a result. A killed suggester is replaced by a new
one.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sparsemod.errors import SpaceEmpty
from sparsemod.objectives import NEAREST
from sparsemod.records import Candidate, TrialState, Value
from sparsemod.search import sobol
from sparsemod.search.acquire import Choice, Chooser
from sparsemod.search.costs import CostBook
from sparsemod.search.gp import Fitter
from sparsemod.search.history import History, Round
from sparsemod.search.pool import ENUMERATED, CandidatePool, Entry, Parent, every
from sparsemod.search.repeats import Repeats
from sparsemod.search.settings import search_config
from sparsemod.search.stopping import converged
from sparsemod.sources.observation import Costs, Morphs, Observation, Suggestion
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.units import TRAINED

MODELLED = 4
"""Smallest number of completed trials for a model."""

POOL = 1000
BREED = 600
PARENTS = 24
MISSES_A_CALL = 50
"""Largest number of misses (over a budget or impossible to build) that one call returns.

The caller records them and calls again, so that no call takes long.
"""

NONE_SEEN = "no candidate seen so far can be built within the budgets: "


class Search:
    """Suggests candidates for the rounds of `spec` in `space`.

    `costs` returns exact costs of a candidate (metric -> value; raises BuildError). `morphs` returns
    children of a parent's parameters; without it, round 3 uses round 2's pool. `exact` limits how many new
    candidates one suggestion may build.
    """

    def __init__(
        self, spec: ExperimentSpec, space: Space, costs: Costs, morphs: Morphs | None = None, exact: int = 24
    ) -> None:
        self.spec, self.space = spec, space
        self._config = search_config(spec)
        self._morphs, self._exact = morphs, exact
        self._book = CostBook(space, costs)
        self._fitter = Fitter()
        self._all_keys: set[str] | None = None

    def done(self, observations: Sequence[Observation]) -> str | None:
        """Return why the search is over, or None while suggestions or pending trials remain."""
        history = History(self.spec, self.space, observations)
        reason = self._explored(history)
        if reason is None or self._config.rounds.repeats.trials == 0:
            return reason
        repeats = self._repeats(history)
        if history.pending or repeats.next(1):
            return None
        return f"{reason}; {repeats.reason()}"

    def _explored(self, history: History) -> str | None:
        """Return why the rounds are over, or None."""
        return self._reason_over(history) or (
            "all rounds are complete" if not history.rounds() and not history.exploring else None
        )

    def _repeats(self, history: History) -> Repeats:
        return Repeats(self._config.rounds.repeats, self.space, history)

    def _reason_over(self, history: History) -> str | None:
        reason = converged(history.objectives, history.explored_rows, self._config.stop)
        if reason is not None:
            return reason
        if history.exploring:
            return None
        if self._exhausted(history):
            return "every candidate of the space was tried"
        if history.any_feasible() and history.misses() >= 2 * self._config.max_draws:
            return f"the last {history.misses()} new candidates broke a budget or could not be built"
        return None

    def next(self, observations: Sequence[Observation], n: int) -> list[Suggestion]:
        """Return up to `n` candidates to train, and the misses found on the way.

        A miss is over a budget or impossible to build: its `feasible` is false, and the caller records it
        without training. The call never waits: pending trials (queued or running observations) count as
        taken, with their expected result. It returns fewer than `n` at the end of the last round, when a
        finite space is used up, or after many misses: record them and call again. An empty list means that
        the search has no suggestion now.

        Raises SpaceEmpty, which describes how few candidates are feasible, when none of `search.max_draws`
        consecutive candidates, and none before them, could be built within the budgets, or when no
        candidate meets the constraints.
        """
        history = History(self.spec, self.space, observations)
        if self._explored(history) is not None:
            return self._repeats(history).next(n) if self._config.rounds.repeats.trials else []
        if not history.any_feasible() and history.misses() >= self._config.max_draws:
            raise SpaceEmpty(NONE_SEEN + history.emptiness())
        result: list[Suggestion] = []
        seen = set(history.seen)
        for turn in history.rounds():
            remaining = min(turn.remaining, n - sum(s.feasible for s in result))
            if remaining <= 0:
                continue
            if turn.name == "r1" and history.misses() < self._config.max_draws:
                suggestions = self._draw(history, turn, remaining, seen)
            elif not self._can_model(history):
                # No result has arrived yet. Do not let workers wait: use Sobol points in this round's
                # budget.
                suggestions = self._draw(history, turn, remaining, seen)
            elif self._by_ax(history, turn):
                suggestions = self._ask_ax(history, turn, remaining, seen, result)
            else:
                suggestions = self._choose(history, turn, remaining, seen, result)
            seen |= {self.space.key(s.candidate.parameters) for s in suggestions}
            result += suggestions
            live = sum(s.feasible for s in suggestions)
            if live < remaining and len(suggestions) > live:
                # Return the many misses for recording first; this round and later ones continue afterwards.
                break
        return result

    # -- round 1 ------------------------------------------------------------------------------------------------------------------------

    def _draw(self, history: History, turn: Round, count: int, seen: set[str]) -> list[Suggestion]:
        suggestions: list[Suggestion] = []
        misses = live = 0
        keys = set(seen)
        for values in self._walk(len(history.all) + count):
            key = self.space.key(values)
            if key in keys:
                continue
            keys.add(key)
            suggestion = self._screen(values, turn, "sobol", history)
            suggestions.append(suggestion)
            if suggestion.feasible:
                live += 1
                misses = 0
                if live == count:
                    break
                continue
            misses += 1
            misses_in_a_row = history.misses() + misses if live == 0 else misses
            # If no candidate was ever feasible, the next call raises SpaceEmpty: these misses are recorded
            # first.
            if misses_in_a_row >= self._config.max_draws or misses >= MISSES_A_CALL:
                break
        else:
            if not suggestions and not history.all and self.space.constraints:
                most = 4 * (len(history.all) + count) + self._config.max_draws
                raise SpaceEmpty(str(self.space.unmet(sobol.LOOKED * most)))
            if not suggestions and not history.any_feasible() and history.all:
                raise SpaceEmpty(
                    "every candidate of the space breaks a budget or cannot be built: " + history.emptiness()
                )
        return suggestions

    def _walk(self, count: int) -> Iterator[dict[str, Value]]:
        """Yield the seed's Sobol sequence from its start, then the remaining candidates of a small space."""
        yield from sobol.candidates(self.space, self.spec.seed, 4 * count + self._config.max_draws)
        if self.space.cardinality <= ENUMERATED:
            yield from every(self.space)

    def _screen(self, values: dict[str, Value], turn: Round, origin: str, history: History) -> Suggestion:
        candidate = Candidate(parameters=values, origin=origin, round=turn.name)
        costs = self._book.look(values)
        if isinstance(costs, str):
            return Suggestion(candidate, turn.spec.epochs, feasible=False, error=costs)
        over = history.objectives.over_budget(costs)
        return Suggestion(candidate, turn.spec.epochs, costs, not over, over)

    # -- rounds 2 and 3 -----------------------------------------------------------------------------------------------------------------

    def _can_model(self, history: History) -> bool:
        return not history.models_error or len(history.with_error) + len(history.earlier) >= MODELLED

    def _choose(
        self, history: History, turn: Round, count: int, seen: set[str], before: Sequence[Suggestion]
    ) -> list[Suggestion]:
        chooser = Chooser(
            _with_pending(history, before, self), self.space, self._book, self._fitter, self._exact
        )
        rng = np.random.default_rng([self.spec.seed, turn.number, len(history.all)])
        parents = self._parents(history) if turn.name == "r3" and self._morphs is not None else []
        pool = CandidatePool(self.space, seen)
        if parents and self._morphs is not None:
            pool.breed(parents, self._morphs, turn.spec.epochs, rng, BREED)
        bred = bool(pool.entries)
        if not bred:
            earlier = self._earlier_front(history)
            pool.fill([*self._bases(history), *earlier], turn.spec.epochs, rng, POOL)
            for values in earlier:
                pool.add(dict(values), turn.spec.epochs)
        suggestions: list[Suggestion] = []
        for _ in range(count):
            choice = chooser.choose(pool, rng, search=not bred and self.space.cardinality > ENUMERATED)
            if choice is None:
                break
            suggestions.append(_suggestion(choice, turn))
        if not suggestions:
            # Recorded misses improve the estimate, and the next call draws another pool.
            over = history.objectives.over_budget
            suggestions = [
                Suggestion(_candidate(c.entry, turn), turn.spec.epochs, c.costs, False, over(c.costs))
                for c in chooser.over_budget()
            ]
            suggestions += [
                Suggestion(_candidate(entry, turn), turn.spec.epochs, feasible=False, error=message)
                for entry, message in chooser.unbuildable
            ]
            suggestions = suggestions[:MISSES_A_CALL]
        return suggestions

    def _bases(self, history: History) -> list[Mapping[str, Value]]:
        return [history.completed[i][0].candidate.parameters for i in history.bases]

    def _earlier_front(self, history: History) -> list[Mapping[str, Value]]:
        """Return the parameters of the earlier trials that would be on the front, or the nearest to it, with exact costs."""
        looked = [(one, self._book.look(one.parameters)) for one in history.earlier]
        built = [(one, costs) for one, costs in looked if not isinstance(costs, str)]
        names = {*history.objectives.names, *history.objectives.budgets} - {history.quality.name}
        rows = [
            {**costs, history.quality.name: one.value}
            for one, costs in built
            if all(n in costs for n in names)
        ]
        if len(rows) < len(built):
            return []  # an objective without exact costs ranks no earlier trial
        found = history.objectives.front(rows) or history.objectives.nearest_misses(rows, NEAREST)
        return [built[i][0].parameters for i in found]

    def _parents(self, history: History) -> list[Parent]:
        """Return the members of the front with stored weights; many are thinned evenly along the first objective.

        While there is no front, the parents are the nearest misses.
        """
        first = self.spec.objectives[0]
        bases = sorted(history.bases, key=lambda i: (history.rows[i][first], i))
        stored = [history.completed[i][0] for i in bases if history.completed[i][0].weights]
        if len(stored) > PARENTS:
            stored = [stored[round(k)] for k in np.linspace(0, len(stored) - 1, PARENTS)]
        return [Parent(o.index, o.candidate.parameters, history.epochs(o)) for o in stored]

    def _by_ax(self, history: History, turn: Round) -> bool:
        """Return whether Ax's acquisition serves round 2: on request, or when an objective has no exact cost."""
        if turn.name != "r2" or self._config.acquisition == "ax":
            return turn.name == "r2"
        sample = next((o for o in history.all if o.state is TrialState.COMPLETED), None)
        costs = self._book.look(sample.candidate.parameters) if sample is not None else ""
        return not isinstance(costs, str) and any(
            n not in costs for n in self.spec.objectives if n not in TRAINED
        )

    def _ask_ax(
        self, history: History, turn: Round, count: int, seen: set[str], before: Sequence[Suggestion]
    ) -> list[Suggestion]:
        from sparsemod.search.ax_acquisition import ask

        suggestions: list[Suggestion] = []
        keys = set(seen)
        for values in ask(self.spec, self.space, _with_pending(history, before, self), count, turn.number):
            key = self.space.key(values)
            if key not in keys:
                keys.add(key)
                suggestions.append(self._screen(values, turn, "gp", history))
        live = sum(s.feasible for s in suggestions)
        if live == 0 and len(suggestions) == 0:
            # Ax repeated a candidate: use our own acquisition to find a new one.
            return self._choose(history, turn, count, seen, before)
        return suggestions

    def _exhausted(self, history: History) -> bool:
        if self.space.cardinality > ENUMERATED:
            return False
        if self._all_keys is None:
            self._all_keys = {self.space.key(values) for values in every(self.space)}
        return self._all_keys <= history.seen


def _candidate(entry: Entry, turn: Round) -> Candidate:
    return Candidate(
        parameters=entry.parameters,
        origin="gp" if entry.parent is None else "morphism",
        round=turn.name,
        parent=entry.parent,
        operators=entry.operators,
    )


def _suggestion(choice: Choice, turn: Round) -> Suggestion:
    return Suggestion(_candidate(choice.entry, turn), turn.spec.epochs, choice.costs, gain=choice.gain)


def _with_pending(history: History, before: Sequence[Suggestion], search: Search) -> History:
    """Return the history with the suggestions of an earlier round of the same call as pending trials."""
    live = [s for s in before if s.feasible]
    if not live:
        return history
    first = 1 + max((o.index for o in history.all), default=-1)
    added = [
        Observation(first + i, s.candidate, TrialState.QUEUED, planned=float(s.epochs))
        for i, s in enumerate(live)
    ]
    return History(search.spec, search.space, [*history.all, *added])
