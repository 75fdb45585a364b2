"""Membership of the Pareto front under noise: repeated trainings of a candidate give different errors.

A front of single trainings prefers lucky ones. Here a candidate is described by the mean over its trainings, and
its error is a random variable; the probability that a candidate is on the front follows by simulation.

Model: trainings of candidate c give errors with mean m_c and standard deviation f * s_c. s_c is the standard error
that the evaluation states (its sampling error), and the factor f is common to all candidates: it is estimated from
all repeated candidates, with the weight of two trainings on f = 1. With a flat prior, m_c is normal around the mean
of its n_c trainings with standard deviation f * s_c / sqrt(n_c). Costs are means over the trainings and exact.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsemod.objectives import Objectives
from sparsemod.records import TrialRecord, TrialState, Value
from sparsemod.units import quality_among

Floats = NDArray[np.float64]


def noisy(objectives: Objectives) -> str:
    """Return the metric that differs between trainings: the task's."""
    return quality_among((*objectives.names, *objectives.budgets))


DRAWS = 4000
_PRIOR = 2.0  # trainings that the prior f = 1 counts for
_SURE = 4.0  # standard deviations
_UNSTATED = 0.02  # standard error of an evaluation that states none, as a share of the reference value


@dataclass(frozen=True)
class Trainings:
    """The trainings of one candidate, one row of metric -> value for each, and the standard error of each evaluation
    (None: not stated).

    `key` identifies the candidate for the caller.
    """

    key: str
    rows: tuple[Mapping[str, float], ...]
    standard_errors: tuple[float | None, ...]

    def mean(self) -> dict[str, float]:
        """Return the mean of each metric that all rows have."""
        return {
            name: math.fsum(row[name] for row in self.rows) / len(self.rows)
            for name in self.rows[0]
            if all(name in row for row in self.rows)
        }


@dataclass(frozen=True)
class Member:
    """A candidate with its means over `count` trainings, the standard error of its mean error (None if the error is
    not measured), and the probability that it is on the front.

    `rival`: key of the candidate with the smallest error among those that cost at most as much; None if there is none.
    """

    key: str
    count: int
    means: Mapping[str, float]
    standard_error: float | None
    probability: float
    rival: str | None = None


def memberships(objectives: Objectives, candidates: Sequence[Trainings], seed: int = 0) -> list[Member]:
    """Return the candidates in the given order with their probabilities of being on the front.

    Every row must have a value for every objective. Equal input gives equal output.
    """
    if not candidates:
        return []
    means = [one.mean() for one in candidates]
    deviations = _deviations(objectives, candidates, means)
    probabilities, rivals = _probabilities(objectives, means, deviations, seed)
    return [
        Member(
            one.key,
            len(one.rows),
            mean,
            None if noisy(objectives) not in mean else float(deviation),
            float(probability),
            None if rival is None else candidates[rival].key,
        )
        for one, mean, deviation, probability, rival in zip(
            candidates, means, deviations, probabilities, rivals, strict=True
        )
    ]


@dataclass(frozen=True)
class FrontMember:
    """A candidate that may be on the front, with its completed trials.

    `metrics`: means over the trials. `standard_error`: of the mean error, in the error's unit, None if the error is
    not measured. `probability`: of being on the front.
    """

    parameters: dict[str, Value]
    trials: tuple[int, ...]
    metrics: dict[str, float]
    standard_error: float | None
    probability: float


def front_members(
    objectives: Objectives, rows: Sequence[TrialRecord], least: float = 0.05, seed: int = 0
) -> list[FrontMember]:
    """Return the candidates with at least probability `least` of being on the front, sorted by their first objective.

    Completed trials of equal parameters are one candidate. Trials without a value of some objective do not count.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for row in sorted(rows, key=lambda row: row.index):
        values = row.values()
        if row.state is TrialState.COMPLETED and all(
            math.isfinite(values.get(name, math.nan)) for name in objectives.names
        ):
            groups.setdefault(json.dumps(row.candidate.parameters, sort_keys=True), []).append(row)
    candidates = [
        Trainings(
            key,
            tuple(row.values() for row in group),
            tuple(row.standard_errors().get(noisy(objectives)) for row in group),
        )
        for key, group in groups.items()
    ]
    likely = [one for one in memberships(objectives, candidates, seed) if one.probability >= least]
    first = objectives.names[0]
    return [
        FrontMember(
            dict(groups[one.key][0].candidate.parameters),
            tuple(row.index for row in groups[one.key]),
            dict(one.means),
            one.standard_error,
            one.probability,
        )
        for one in sorted(likely, key=lambda one: (one.means[first], groups[one.key][0].index))
    ]


def _deviations(
    objectives: Objectives, candidates: Sequence[Trainings], means: Sequence[Mapping[str, float]]
) -> Floats:
    """Return the standard deviation of each candidate's mean error, shape (candidates,); 0 without an error."""
    metric = noisy(objectives)
    unstated = _UNSTATED * objectives.reference.get(metric, 1.0)
    squares, freedom = _PRIOR, _PRIOR
    single = np.zeros(len(candidates))
    for place, (one, mean) in enumerate(zip(candidates, means, strict=True)):
        if metric not in mean:
            continue
        stated = [error for error in one.standard_errors if error is not None and error > 0.0]
        single[place] = math.fsum(stated) / len(stated) if stated else unstated
        squares += math.fsum((row[metric] - mean[metric]) ** 2 for row in one.rows) / single[place] ** 2
        freedom += len(one.rows) - 1
    counts = np.array([len(one.rows) for one in candidates])
    result: Floats = math.sqrt(squares / freedom) * single / np.sqrt(counts)
    return result


def _probabilities(
    objectives: Objectives, means: Sequence[Mapping[str, float]], deviations: Floats, seed: int
) -> tuple[Floats, list[int | None]]:
    """Return the share of the draws in which each candidate meets the budgets and no other candidate that meets
    them is at least as good in every objective, and the place of each candidate's rival."""
    metric = noisy(objectives)
    others = [name for name in objectives.names if name != metric]
    drawn = metric in objectives.names
    fixed = {name: limit for name, limit in objectives.budgets.items() if name != metric}
    limit = objectives.budgets.get(metric, math.inf)
    normal = np.random.default_rng(seed).standard_normal((DRAWS, len(means)))
    mean_errors = np.array([mean.get(metric, 0.0) for mean in means])
    errors = mean_errors + normal * deviations
    within = np.array([all(mean.get(name, 0.0) <= most for name, most in fixed.items()) for mean in means])
    allowed = within & (errors <= limit)
    costs = np.array([[mean[name] for name in others] for mean in means]).reshape(len(means), len(others))
    # A candidate over the limit of the error beats nobody.
    rivals = np.where(allowed, errors, np.inf)
    result = np.zeros(len(means))
    strongest: list[int | None] = [None] * len(means)
    for place in _contenders(costs, mean_errors, deviations, within, limit, drawn):
        beaten = np.zeros(DRAWS, dtype=bool)
        no_worse = _no_worse(costs, place, ties=drawn)
        if no_worse.any():
            best = rivals[:, no_worse].min(axis=1)
            strongest[place] = int(np.argmin(np.where(no_worse & within, mean_errors, np.inf)))
            beaten = best <= errors[:, place] if drawn else best < np.inf
        result[place] = float(np.mean(allowed[:, place] & ~beaten))
    return result, strongest


def _no_worse(costs: Floats, place: int, *, ties: bool) -> NDArray[np.bool_]:
    """Return which candidates cost at most as much as the one at `place` in everything, itself excluded.

    Without `ties`, of equal candidates only earlier ones count, so that the first of them is on the front.
    """
    result: NDArray[np.bool_] = np.all(costs <= costs[place], axis=1)
    if not ties:
        result &= np.any(costs < costs[place], axis=1) | (np.arange(len(costs)) < place)
    result[place] = False
    return result


def _contenders(
    costs: Floats, errors: Floats, deviations: Floats, within: NDArray[np.bool_], limit: float, drawn: bool
) -> list[int]:
    """Return the places of the candidates that are on the front in some draw, up to a probability below 1e-4 for each rival."""
    high, low = errors + _SURE * deviations, errors - _SURE * deviations
    sure = within & (high <= limit)
    places = []
    for place in np.flatnonzero(within & (low <= limit)):
        rivals = _no_worse(costs, int(place), ties=drawn) & sure
        if drawn:
            rivals &= high < low[place]
        if not rivals.any():
            places.append(int(place))
    return places


def settled(member: Member, confidence: float) -> bool:
    """Return whether the member is on the front, or off it, with at least probability `confidence`."""
    return max(member.probability, 1.0 - member.probability) >= confidence


def next_to_repeat(
    members: Sequence[Member], pending: Mapping[str, int], confidence: float, seeds: int
) -> str | None:
    """Return the key of the candidate whose next training tells most about the front, or None when nothing is left
    to learn.

    A candidate whose membership p is not settled depends on its own mean error and on its rival's. Of all these
    candidates and rivals, the one with the largest p (1 - p) times the variance that one more training removes is
    next. When all are settled, likely members with fewer than `seeds` trainings follow. `pending`: trainings under
    way, by key.
    """
    by_key = {member.key: member for member in members}

    def trainings(member: Member) -> int:
        return member.count + pending.get(member.key, 0)

    def removed(member: Member) -> float:
        """Variance of the mean error that one more training removes."""
        single = member.count * (member.standard_error or 0.0) ** 2
        return single / (trainings(member) * (trainings(member) + 1))

    best, chosen = 0.0, None
    for one in members:
        if settled(one, confidence):
            continue
        for member in (one, by_key.get(one.rival or "")):
            if member is not None:
                worth = one.probability * (1.0 - one.probability) * removed(member)
                if worth > best:
                    best, chosen = worth, member.key
    if chosen is not None:
        return chosen
    few = [one for one in members if one.probability >= 0.5 and trainings(one) < seeds]
    return min(few, key=lambda one: (trainings(one), -one.probability)).key if few else None
