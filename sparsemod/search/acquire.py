"""Choice from a pool by expected hypervolume improvement, with exact costs for the best candidates only.

The other costs are estimates. One `Chooser` serves one call of `suggest`: it makes the model and the front
from the history once. Every choice and every pending trial is added to them as a fantasy (costs exact, the
error at its posterior mean), so that the members of a batch differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from sparsemod.objectives import nondominated
from sparsemod.quality import error_of, logit
from sparsemod.records import Value
from sparsemod.search import ehvi, gp, sobol
from sparsemod.search.costs import CostBook, CostEstimate, table
from sparsemod.search.history import History
from sparsemod.search.pool import CandidatePool, Entry
from sparsemod.space.space import Space

Floats = npt.NDArray[np.float64]

FRONT = 200
"""Largest number of front members for the boxes; a larger front is thinned by mutual distance."""

MODEL_POINTS = 400

SAMPLED = 64
"""Number of Sobol points that are built to train the cost estimate.

They are always the same points, built once per process.
"""


@dataclass(frozen=True)
class Choice:
    """An entry of the pool with its exact costs and its expected gain."""

    entry: Entry
    costs: Mapping[str, float]
    gain: float


@dataclass(frozen=True)
class Scores:
    """Of each entry: the expected gain in hypervolume, the score that ranks it, and one that ranks equal scores.

    The score is the gain once a feasible trial is known, before that the probability that the error keeps its
    budget. The gain favours tiny networks, which are almost surely over it.
    """

    gain: Floats
    score: Floats
    fallback: Floats


class Chooser:
    """Chooses candidates from pools. `exact`: how many new candidates one choice may build.

    Raises InvalidInput when a completed row lacks an objective.
    """

    def __init__(self, history: History, space: Space, book: CostBook, fitter: gp.Fitter, exact: int) -> None:
        self._space, self._book, self._exact = space, book, exact
        self._objectives = history.objectives
        names = self._objectives.names
        self._quality = history.quality
        self._with_earlier = bool(history.earlier)
        self._known = [n for n in names if n != self._quality.name]
        sampled = self._drawn(history)
        measured = {m for o in history.all for m in (o.values or ())} | {
            m for _, costs in sampled for m in costs
        }
        # Ignore budgets on metrics that are not measured: they judge nothing and cannot be estimated.
        limited = (b for b in self._objectives.budgets if b != self._quality.name and b in measured)
        self._metrics = list(dict.fromkeys([*self._known, *limited]))
        self._uncertain = self._quality.name in names
        self._limits = np.array([self._objectives.budgets.get(m, np.inf) for m in self._metrics])
        self._limit = self._objectives.budgets.get(self._quality.name, np.inf)
        # Before anything is feasible, look for feasibility itself.
        self._seeks = bool(np.isfinite(self._limit)) and not history.front
        costed = [
            (o.candidate.parameters, o.values)
            for o in history.all
            if o.values is not None and all(m in o.values for m in self._metrics)
        ]
        self._train_features = [space.encode(parameters) for parameters, _ in costed]
        self._train_costs: list[Mapping[str, float]] = [values for _, values in costed]
        self._estimator: CostEstimate | None = None
        for parameters, costs in sampled:
            self._learn(parameters, costs)
        self._model = self._fit(history, fitter) if history.models_error else None
        self._points = self._objectives.matrix(history.rows[i] for i in history.front)
        self._built: dict[str, Choice | None] = {}
        self.unbuildable: list[tuple[Entry, str]] = []
        for observation in history.pending:
            costs_or_error = book.look(observation.candidate.parameters)
            if not isinstance(costs_or_error, str):
                self._add_pending(
                    observation.candidate.parameters, history.epochs(observation), costs_or_error
                )
        self._cells = self._decompose()

    def _drawn(self, history: History) -> list[tuple[Mapping[str, Value], Mapping[str, float]]]:
        """Return the Sobol points that can be built, with their costs; none when only the error matters."""
        needed = bool(self._known or set(self._objectives.budgets) - {self._quality.name})
        points = sobol.candidates(self._space, history.seed, SAMPLED if needed else 0)
        looked = [(parameters, self._book.look(parameters)) for parameters in points]
        return [(parameters, costs) for parameters, costs in looked if not isinstance(costs, str)]

    def _fit(self, history: History, fitter: gp.Fitter) -> gp.ErrorModel:
        # Give the model bad results for diverged and faulty trials, or it would suggest their neighbourhood
        # again.
        measured = history.with_error
        done = [*(history.completed[i][0] for i in measured), *history.failed]
        earlier = history.earlier
        features = self._features(
            [
                *(o.candidate.parameters for o in (*done, *(o for o, _, _ in history.forecasts))),
                *(one.parameters for one in earlier),
            ],
            [
                *map(history.epochs, done),
                *(history.whole_epochs(o) for o, _, _ in history.forecasts),
                *(one.epochs for one in earlier),
            ],
            len(earlier),
        )
        errors = self._quality.share(
            [history.rows[i][self._quality.name] for i in measured]
            + [history.bad_error] * len(history.failed)
            + [expected for _, expected, _ in history.forecasts]
            + [one.value for one in earlier]
        )
        deviations = np.array(
            [*[0.0] * len(done), *(deviation for _, _, deviation in history.forecasts), *[0.0] * len(earlier)]
        )
        front = np.isin([*measured, *[-1] * (len(errors) - len(measured))], history.front)
        few = gp.select_points(errors, features, front, gp.FIT_POINTS)
        hyperparameters = fitter.fit(features[few], errors[few], deviations[few])
        some = gp.select_points(errors, features, front, MODEL_POINTS)
        return gp.ErrorModel(features[some], errors[some], hyperparameters, deviations[some])

    def _features(
        self, parameters: Sequence[Mapping[str, Value]], epochs: Sequence[float], earlier: int = 0
    ) -> Floats:
        """Return the model's inputs, shape (n, features): the space's and the training's length.

        With trials of earlier experiments, a further input is 1 for them, the last `earlier` rows, and 0 for others:
        the model learns how alike the experiments are.
        """
        encoded = np.array([self._space.encode(one) for one in parameters]).reshape(len(parameters), -1)
        columns = [encoded, np.array([gp.fidelity(one) for one in epochs])]
        if self._with_earlier:
            columns.append((np.arange(len(parameters)) >= len(parameters) - earlier).astype(float))
        return np.column_stack(columns)

    def _learn(self, parameters: Mapping[str, Value], costs: Mapping[str, float]) -> None:
        """Add exact costs to the training data of the estimate."""
        if all(m in costs for m in self._metrics):
            self._train_features.append(self._space.encode(parameters))
            self._train_costs.append(costs)
            self._estimator = None

    def _add_pending(
        self, parameters: Mapping[str, Value], epochs: float, costs: Mapping[str, float]
    ) -> None:
        """Add a pending trial as finished, with the error that the model expects."""
        values = dict(costs)
        if self._model is not None:
            row = self._features([parameters], [epochs])
            mean, _ = self._model.predict(row)
            self._model.add(row, mean)
            values[self._quality.name] = float(self._quality.value(error_of(mean))[0])
        if all(n in values for n in self._objectives.names) and self._objectives.feasible(values):
            self._points = np.vstack([self._points, self._objectives.vector(values)])

    def _decompose(self) -> ehvi.Cells:
        points = self._points[nondominated(self._points)]
        points = points[np.all(points < 1.0, axis=1)]
        if len(points) > FRONT:
            points = points[_spread_out(points, FRONT)]
        names = self._objectives.names
        known_points = points[:, [names.index(n) for n in self._known]]
        return ehvi.decompose(
            known_points, points[:, names.index(self._quality.name)] if self._uncertain else None
        )

    def scores(self, entries: Sequence[Entry], costs: Floats) -> Scores:
        """Return how good each entry with the given `costs`, shape (n, metrics), is."""
        known = self._units(costs)
        if self._model is None:
            gain = ehvi.improvement(self._cells, known, None)
            return Scores(gain, gain, -known.sum(axis=1))
        mean, deviation = self._model.predict(
            self._features([e.parameters for e in entries], [e.epochs for e in entries])
        )

        def probability(errors: Floats) -> Floats:
            """P(metric <= e and within the budget) of each entry at each of `errors`, shape (n, errors)."""
            limit = logit(self._quality.share(np.minimum(errors, self._limit)))
            result: Floats = ndtr((limit[None, :] - mean[:, None]) / deviation[:, None])
            return result

        fallback = -known.sum(axis=1)
        if self._uncertain:
            scale = self._objectives.scales[self._quality.name]
            below = ehvi.expected_below(self._cells.levels, lambda units: probability(scale.value(units)))
            gain = ehvi.improvement(self._cells, known, below)
            fallback = fallback - scale.unit(self._quality.value(error_of(mean)))
        else:
            within = probability(np.array([self._limit]))[:, 0]
            gain = ehvi.improvement(self._cells, known, None) * within
        if not self._seeks:
            return Scores(gain, gain, fallback)
        reach = (logit(self._quality.share(self._limit)) - mean) / deviation
        return Scores(gain, ndtr(reach), reach)

    def _units(self, costs: Floats) -> Floats:
        """Return the places of `costs`, shape (n, metrics), on the scales of the known objectives."""
        units = np.empty((len(costs), len(self._known)))
        for j, name in enumerate(self._known):
            units[:, j] = self._objectives.scales[name].unit(costs[:, j])
        return units

    def choose(self, pool: CandidatePool, rng: np.random.Generator, search: bool) -> Choice | None:
        """Return the best feasible entry; None when all built ones break a budget.

        With `search`, a local search refines the best. It climbs on estimated costs, which are free. Then
        half of the allowed builds go to the best entries of all, and the rest to the neighbours of the best
        built one, with an estimate updated by the first half.
        """
        share = self._exact if not self._built else max(4, self._exact // 2)
        for _ in range(2 if search else 0):
            pool.near(self._promising(pool.entries, 8), rng, 12)
        self._build(pool.entries, max(1, share // 2 if search else share))
        for _ in range(2 if search else 0):
            near = pool.near([c.entry for c in self._ranked(pool)[:4]], rng, 25)
            self._build(near, max(1, share // 4))
        ranked = self._ranked(pool)
        attempts = 0
        while not ranked and attempts < 4:
            # No feasible entry yet: rank again, since the estimate now includes the built networks.
            self._build(pool.entries, max(1, share // 2))
            ranked, attempts = self._ranked(pool), attempts + 1
        if not ranked:
            return None
        choice = ranked[0]
        self._add_pending(choice.entry.parameters, choice.entry.epochs, choice.costs)
        self._cells = self._decompose()
        self._mark_chosen(choice)
        return choice

    def over_budget(self) -> list[Choice]:
        """Return the built entries that break a budget, in the order of building."""
        return [c for c in self._built.values() if c is not None and not self._objectives.feasible(c.costs)]

    def _mark_chosen(self, choice: Choice) -> None:
        self._built[choice.entry.key] = None

    def _ranked(self, pool: CandidatePool) -> list[Choice]:
        """Return the built, feasible, not yet chosen entries, best first."""
        choices = [c for c in self._built.values() if c is not None and self._objectives.feasible(c.costs)]
        if not choices:
            return []
        entries = [c.entry for c in choices]
        scores = self.scores(
            entries, self._cost_rows([c.costs for c in choices], [e.parameters for e in entries])
        )
        best = np.where(scores.score > 1e-12, scores.score, 0.0)
        order = np.lexsort((np.arange(len(choices)), -scores.fallback, -best))
        return [Choice(choices[i].entry, choices[i].costs, float(scores.gain[i])) for i in order]

    def _cost_rows(
        self, rows: Sequence[Mapping[str, float]], parameters: Sequence[Mapping[str, Value]]
    ) -> Floats:
        """Return the metrics of the rows of costs, shape (n, metrics).

        A metric without exact cost (measured on a device) is estimated from finished trials.
        """
        if all(m in row for row in rows for m in self._metrics):
            return table(rows, self._metrics)
        guess, _ = self._estimate(parameters)
        for i, row in enumerate(rows):
            for j, name in enumerate(self._metrics):
                guess[i, j] = row.get(name, guess[i, j])
        return guess

    def _estimate(self, parameters: Sequence[Mapping[str, Value]]) -> tuple[Floats, Floats]:
        """Return estimated costs and the deviations of their logarithms, shape (n, metrics)."""
        if len(self._train_costs) < 2:
            shape = (len(parameters), len(self._metrics))
            return np.ones(shape), np.full(shape, 10.0)
        if self._estimator is None:
            self._estimator = CostEstimate(
                np.array(self._train_features), table(self._train_costs, self._metrics)
            )
        return self._estimator.predict(np.array([self._space.encode(one) for one in parameters]))

    def _promising(self, entries: Sequence[Entry], count: int) -> list[Entry]:
        """Return up to `count` entries without exact costs, largest score by estimated costs first."""
        open_entries = [e for e in entries if e.key not in self._built]
        if not open_entries:
            return []
        median, deviation = self._estimate([e.parameters for e in open_entries])
        scores = self.scores(open_entries, median)
        with np.errstate(divide="ignore"):
            room = (np.log(self._limits) - np.log(median)) / deviation
        score = scores.score * np.prod(ndtr(room), axis=1)
        order = np.lexsort((np.arange(len(score)), -scores.fallback, -score))
        return [open_entries[i] for i in order[:count]]

    def _build(self, entries: Sequence[Entry], count: int) -> None:
        """Compute exact costs for the `count` most promising entries without them."""
        # An unbuildable network fails fast, without a capture, so it counts as a tenth of a build.
        builds_left = float(count)
        for entry in self._promising(entries, 10 * count):
            if builds_left <= 0.0:
                break
            costs = self._book.look(entry.parameters)
            if isinstance(costs, str):
                self._built[entry.key] = None
                self.unbuildable.append((entry, costs))
                builds_left -= 0.1
                continue
            builds_left -= 1.0
            self._built[entry.key] = Choice(entry, costs, 0.0)
            self._learn(entry.parameters, costs)


def _spread_out(points: Floats, count: int) -> npt.NDArray[np.int64]:
    """Return `count` rows far from each other, the best in each objective first."""
    rows = list(dict.fromkeys(int(i) for i in points.argmin(axis=0)))
    distance = np.full(len(points), np.inf)
    for i in rows:
        np.minimum(distance, ((points - points[i]) ** 2).sum(axis=1), out=distance)
    while len(rows) < count:
        following = int(np.argmax(distance))
        rows.append(following)
        np.minimum(distance, ((points - points[following]) ** 2).sum(axis=1), out=distance)
    return np.array(rows)
