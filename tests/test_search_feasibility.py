"""Searches with a tight budget on the error find what is allowed, and go on from the nearest misses before."""

import pytest
from support_search import SPACE, costs, error, loop, morphs, spec

from sparsemod.records import Candidate, TrialState
from sparsemod.search import sobol
from sparsemod.search.history import History
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation

LIMIT = 0.06
BUDGETS = {"error": LIMIT, "model_size": 3000.0}


def rounds(first: int, second: int, third: int = 0) -> dict[str, dict[str, int]]:
    return {
        "r1": {"trials": first, "epochs": 4},
        "r2": {"trials": second, "epochs": 4},
        "r3": {"trials": third, "epochs": 2},
    }


def rare() -> float:
    """The share of the space that keeps both budgets."""
    drawn = list(sobol.candidates(SPACE, 1, 2000))
    return sum(error(p) <= LIMIT and costs(p)["model_size"] <= 3000.0 for p in drawn) / len(drawn)


def first_feasible(observations: list[Observation]) -> int:
    trained = [o for o in observations if o.state is TrialState.COMPLETED]
    return next((i for i, o in enumerate(trained, 1) if o.values and o.values["error"] <= LIMIT), 999)


@pytest.mark.long
def test_the_error_is_modelled_where_it_is_only_a_budget() -> None:
    assert 0.01 < rare() < 0.04
    of = spec(("model_size",), rounds=rounds(6, 16), budgets=BUDGETS, seed=11)
    observations = loop(Search(of, SPACE, costs))
    assert first_feasible(observations) <= 15
    kept = [o.values["model_size"] for o in observations if o.values and o.values.get("error", 1) <= LIMIT]
    assert min(kept) < kept[0], "once one is feasible, smaller ones are found"


def test_a_search_for_feasibility_comes_before_the_gain() -> None:
    found = []
    for seed in (11, 14, 15):
        of = spec(
            ("error", "model_size"), rounds=rounds(6, 7), budgets=BUDGETS, seed=seed, reference_point={}
        )
        found.append(first_feasible(loop(Search(of, SPACE, costs))))
    assert sorted(found)[1] <= 12


def test_the_nearest_misses_are_bred_from_while_there_is_no_front() -> None:
    of = spec(("error", "model_size"), rounds=rounds(4, 0, 4), budgets={"error": 1e-3}, reference_point={})
    observations = []
    for index, parameters in enumerate(sobol.candidates(SPACE, 5, 4)):
        candidate = Candidate(parameters=parameters, origin="sobol", round="r1")
        values = {"error": 0.5 - 0.1 * index, **costs(parameters)}
        observations.append(
            Observation(index, candidate, TrialState.COMPLETED, values, 4.0, weights=f"sha256:{index:064x}")
        )
    history = History(of, SPACE, observations)
    assert history.front == [] and history.bases == [3, 2, 1, 0]
    (suggestion,) = Search(of, SPACE, costs, morphs).next(observations, 1)
    assert suggestion.candidate.origin == "morphism" and suggestion.candidate.parent in range(4)
