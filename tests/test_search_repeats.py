"""Repetitions over seeds: the probability of being on the front, and which candidate is trained again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sparsemod.objectives import Objectives
from sparsemod.records import Candidate, FailureKind, TrialState
from sparsemod.report.membership import Member, Trainings, memberships, next_to_repeat, settled
from sparsemod.search.source import SearchSource
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.space.parameters import Integer
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec

OBJECTIVES = Objectives(("error", "flash"), {"error": 1.0, "flash": 100.0}, {})


def trainings(key: str, errors: list[float], flash: float, standard_error: float | None = 0.01) -> Trainings:
    rows = tuple({"error": error, "flash": flash} for error in errors)
    return Trainings(key, rows, (standard_error,) * len(rows))


def probabilities(objectives: Objectives, *candidates: Trainings) -> list[float]:
    return [member.probability for member in memberships(objectives, candidates)]


def test_a_candidate_that_nobody_beats_is_on_the_front() -> None:
    cheap, good = trainings("a", [0.5], 10.0), trainings("b", [0.1], 50.0)
    beaten = trainings("c", [0.6], 60.0)
    assert probabilities(OBJECTIVES, cheap, good, beaten) == [1.0, 1.0, 0.0]


def test_two_equal_errors_at_two_costs_are_a_coin_toss() -> None:
    """b is on the front exactly when its error is below a's: the means are equal."""
    on = probabilities(OBJECTIVES, trainings("a", [0.2], 10.0), trainings("b", [0.2], 20.0))
    assert on[0] == 1.0 and on[1] == pytest.approx(0.5, abs=0.03)


def test_the_probability_is_that_of_the_difference_of_two_normal_means() -> None:
    """P(b < a) with standard errors of 0.01 / sqrt(1) and 0.01 / sqrt(4), and no spread beyond them."""
    a, b = trainings("a", [0.2], 10.0), trainings("b", [0.19] * 4, 20.0)
    members = memberships(OBJECTIVES, [a, b])
    factor = np.sqrt(2 / 5)  # two trainings at 1, three degrees of freedom without spread
    assert members[1].standard_error == pytest.approx(0.005 * factor)
    deviation = factor * np.hypot(0.01, 0.005)
    expected = np.random.default_rng(1).normal(0.01, deviation, 100_000).clip(None, 1) > 0
    assert members[1].probability == pytest.approx(expected.mean(), abs=0.03)


def test_the_spread_of_repetitions_widens_every_standard_error() -> None:
    wide = memberships(OBJECTIVES, [trainings("a", [0.1, 0.3], 10.0), trainings("b", [0.2], 20.0)])
    # Squares: 2 * 1 of the prior, and 2 * (0.1 / 0.01)^2 with one degree of freedom.
    assert wide[1].standard_error == pytest.approx(0.01 * np.sqrt((2 + 200) / 3))


def test_a_limit_of_the_error_counts_in_every_draw() -> None:
    """With flash as the only objective, the smallest candidate within the limit is the front."""
    only = Objectives(("flash",), {"flash": 100.0}, {"error": 0.2})
    on = probabilities(
        only, trainings("a", [0.2], 10.0), trainings("b", [0.1], 20.0), trainings("c", [0.1], 30.0)
    )
    assert on[0] == pytest.approx(0.5, abs=0.03) and on[1] == pytest.approx(1 - on[0]) and on[2] == 0.0


def test_of_equal_candidates_without_noise_the_first_is_on_the_front() -> None:
    only = Objectives(("flash",), {"flash": 100.0}, {})
    assert probabilities(only, trainings("a", [0.2], 10.0), trainings("b", [0.1], 10.0)) == [1.0, 0.0]


def test_a_budget_of_a_cost_excludes() -> None:
    within = Objectives(("error", "flash"), {"error": 1.0, "flash": 100.0}, {"flash": 15.0})
    assert probabilities(within, trainings("a", [0.5], 10.0), trainings("b", [0.1], 20.0)) == [1.0, 0.0]


def test_an_evaluation_without_a_standard_error_has_a_stated_default() -> None:
    member = memberships(OBJECTIVES, [trainings("a", [0.5], 10.0, None)])[0]
    assert member.standard_error == pytest.approx(0.02)
    assert memberships(OBJECTIVES, []) == []


def member(key: str, count: int, probability: float, error: float = 0.01, rival: str | None = None) -> Member:
    return Member(key, count, {}, error, probability, rival)


def test_the_training_that_tells_most_is_next_and_pending_trainings_count() -> None:
    members = [member("a", 1, 0.5), member("b", 1, 0.6), member("c", 1, 1.0)]
    assert next_to_repeat(members, {}, 0.9, 3) == "a"
    assert next_to_repeat(members, {"a": 1}, 0.9, 3) == "b"
    assert settled(member("d", 1, 0.1), 0.9) and not settled(member("d", 1, 0.11), 0.9)


def test_a_rival_is_trained_when_its_error_is_less_certain() -> None:
    """Of a candidate with nine trainings and its rival with two, the rival's mean is what is not known."""
    members = [member("a", 9, 0.5, 0.01, rival="b"), member("b", 2, 1.0, 0.02)]
    assert next_to_repeat(members, {}, 0.9, 3) == "b"
    assert next_to_repeat(members, {"b": 20}, 0.9, 3) == "a"


def test_members_of_a_settled_front_get_their_smallest_number_of_trainings() -> None:
    assert next_to_repeat([member("c", 1, 0.95), member("d", 1, 0.05)], {}, 0.9, 3) == "c"
    assert next_to_repeat([member("c", 1, 0.95)], {"c": 2}, 0.9, 3) is None


def test_the_rival_is_the_best_of_those_that_cost_no_more() -> None:
    a, b, c = trainings("a", [0.3], 10.0), trainings("b", [0.25], 20.0), trainings("c", [0.24], 30.0)
    assert [one.rival for one in memberships(OBJECTIVES, [a, b, c])] == [None, "a", "b"]


def made_problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True errors and costs of 24 candidates, many of them close to the front."""
    rng = np.random.default_rng(seed)
    flash = np.sort(rng.uniform(5, 95, 24))
    return 0.6 - 0.005 * flash + np.abs(rng.normal(0.0, 0.04, 24)), flash


def agreement(chosen: set[int], truth: set[int]) -> float:
    """The Jaccard index of two sets."""
    return len(chosen & truth) / len(chosen | truth)


@pytest.mark.long
def test_repetitions_recover_the_true_front_of_a_noisy_problem_more_often_than_single_runs() -> None:
    """Twelve made problems with a known front, errors with a standard deviation of 0.02, 60 repetitions each."""
    single, repeated = [], []
    for seed in range(12):
        errors, flash = made_problem(seed)
        rng = np.random.default_rng(1000 + seed)
        truth = {
            i for i in range(24) if not any(errors[j] <= errors[i] and flash[j] < flash[i] for j in range(24))
        }
        runs = [[errors[i] + rng.normal(0, 0.02)] for i in range(24)]
        rows = [{"error": run[0], "flash": flash[i]} for i, run in enumerate(runs)]
        single.append(agreement(set(OBJECTIVES.front(rows)), truth))
        for _ in range(60):
            members = memberships(OBJECTIVES, [trainings(str(i), runs[i], flash[i], 0.02) for i in range(24)])
            key = next_to_repeat(members, {}, 0.9, 2)
            if key is None:
                break
            runs[int(key)].append(errors[int(key)] + rng.normal(0, 0.02))
        members = memberships(OBJECTIVES, [trainings(str(i), runs[i], flash[i], 0.02) for i in range(24)])
        repeated.append(agreement({int(one.key) for one in members if one.probability >= 0.5}, truth))
    assert np.mean(repeated) > np.mean(single) + 0.1
    better = sum(b > a for a, b in zip(single, repeated, strict=True))
    worse = sum(b < a for a, b in zip(single, repeated, strict=True))
    assert better > 2 * worse


# -- in a search -----------------------------------------------------------------------------------------------------------------


def spec(repeats: Mapping[str, Any], trials: int = 6) -> ExperimentSpec:
    return ExperimentSpec.parse(
        {
            "dataset": {"name": "digits"}, "network": {"family": "mlp"}, "objectives": ["error", "model_size"],
            "source": {"name": "search", "rounds": {"r1": {"trials": trials, "epochs": 2}, "r2": {"trials": 0, "epochs": 2}, "r3": {"trials": 0, "epochs": 1}, "repeats": repeats}},
        }
    )  # fmt: skip


SPACE = Space([Integer(name="width", low=1, high=40)])


def search(repeats: Mapping[str, Any], trials: int = 6) -> Search:
    return Search(spec(repeats, trials), SPACE, lambda values: {"model_size": 10.0 * float(values["width"])})


def finished(suggestion: Suggestion, index: int, error: float | None) -> Observation:
    if error is None:
        return Observation(index, suggestion.candidate, TrialState.FAILED, None, failure=FailureKind.FAULT)
    values = {**suggestion.costs, "error": error}
    return Observation(
        index, suggestion.candidate, TrialState.COMPLETED, values, 2.0, planned=float(suggestion.epochs), standard_errors={"error": 0.02},
    )  # fmt: skip


def run(made: Search, error: Any, step: int = 1) -> list[Observation]:
    observations: list[Observation] = []
    while made.done(observations) is None:
        suggestions = made.next(observations, step)
        assert suggestions, "neither done nor a suggestion"
        for suggestion in suggestions:
            observations.append(finished(suggestion, len(observations), error(suggestion, len(observations))))
    return observations


def noisy(suggestion: Suggestion, index: int) -> float:
    width = int(suggestion.candidate.parameters["width"])
    return float(0.5 - 0.003 * width + np.random.default_rng(index).normal(0, 0.02))


@pytest.mark.parametrize("step", [1, 3])
def test_a_search_ends_with_repetitions_of_its_front(step: int) -> None:
    made = search({"trials": 30, "seeds": 2})
    observations = run(made, noisy, step)
    repeats = [o for o in observations if o.candidate.round == "repeats"]
    assert 0 < len(repeats) <= 30 and all(o.index >= 6 for o in repeats)
    tried = {o.candidate.parameters["width"] for o in observations[:6]}
    assert {o.candidate.parameters["width"] for o in repeats} <= tried
    assert all(o.candidate.origin == "repeat" and o.planned == 2 for o in repeats)
    reason = made.done(observations)
    assert reason is not None and reason.startswith("all rounds are complete; ")
    # A new search on the same observations says the same.
    assert search({"trials": 30, "seeds": 2}).done(observations) == reason


def test_the_number_of_repetitions_is_a_limit() -> None:
    made = search({"trials": 2, "confidence": 0.999, "seeds": 50})
    observations = run(made, noisy)
    assert len(observations) == 8
    assert "all 2 repetitions are used" in str(made.done(observations))


def test_faults_use_up_repetitions() -> None:
    made = search({"trials": 5, "confidence": 0.999, "seeds": 50})
    observations = run(made, lambda suggestion, index: None if index >= 6 else noisy(suggestion, index))
    assert len(observations) == 11


def test_without_repetitions_a_search_is_as_before() -> None:
    made = search({"trials": 0})
    observations = run(made, noisy)
    assert len(observations) == 6 and made.done(observations) == "all rounds are complete"


def test_repetitions_wait_for_the_last_trial_of_the_rounds() -> None:
    made = search({"trials": 5})
    observations = run(search({"trials": 0}), noisy)
    running = replace(observations[-1], state=TrialState.RUNNING, values=None)
    waiting = [*observations[:-1], running]
    assert made.next(waiting, 3) == [] and made.done(waiting) is None


def test_a_morph_is_repeated_from_the_same_parent() -> None:
    made = search({"trials": 3, "seeds": 3}, trials=1)
    first = Candidate(parameters={"width": 7}, origin="morphism", round="r1", parent=0, operators=("widen",))
    done = Observation(
        0, first, TrialState.COMPLETED, {"error": 0.1, "model_size": 70.0}, 6.0, planned=3.0, standard_errors={"error": 0.02}
    )  # fmt: skip
    again = made.next([done], 1)[0]
    assert again.candidate.parent == 0 and again.candidate.operators == ("widen",) and again.epochs == 3


def test_more_repetitions_are_an_extension() -> None:
    config = SearchSource()
    assert [part.name for part in config.plan()] == ["r1", "r2", "r3"]
    longer = config.extended({"repeats": 7})
    assert longer.rounds.repeats.trials == 7 and longer.plan()[-1].name == "repeats"
