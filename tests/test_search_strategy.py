"""The search over rounds: pure, rebuildable, never blocking, true to budgets, better than Sobol."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support_search import OBJECTIVES, SPACE, costs, finish, loop, morphs, pend, spec

from sparsemod.errors import BuildError, SpaceEmpty
from sparsemod.records import FailureKind, TrialState, Value
from sparsemod.search import gp
from sparsemod.search.history import History
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.space.space import Categorical, Constraint, Integer, Space


def rounds(r1: int, r2: int = 0, r3: int = 0) -> dict[str, object]:
    return {f"r{i}": {"trials": n, "epochs": e} for i, n, e in ((1, r1, 4), (2, r2, 4), (3, r3, 2))}


def volumes(of: object, observations: list[Observation]) -> list[float]:
    history = History(of, SPACE, observations)  # type: ignore[arg-type]
    return history.objectives.history(history.rows)


@pytest.mark.long
def test_a_search_beats_sobol_and_a_rebuilt_one_continues_alike() -> None:
    gains = []
    for seed in (1, 2):
        ours, sobol = spec(seed=seed, rounds=rounds(8, 16)), spec(seed=seed, rounds=rounds(24))
        observations = loop(Search(ours, SPACE, costs))
        assert len(observations) == 24
        assert [o.candidate.origin for o in observations] == ["sobol"] * 8 + ["gp"] * 16
        gains.append(volumes(ours, observations)[-1] - volumes(sobol, loop(Search(sobol, SPACE, costs)))[-1])
        for cut in (3, 8, 15) if seed == 1 else ():
            [again] = Search(ours, SPACE, costs).next(observations[:cut], 1)
            assert again.candidate == observations[cut].candidate
    assert min(gains) > 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "objectives",
    [("error",), ("model_size",), ("latency", "error"), ("model_size", "working_memory", "error"),
     ("model_size", "latency", "working_memory")],
)  # fmt: skip
def test_any_objectives_in_any_order(objectives: tuple[str, ...]) -> None:
    of = spec(objectives, rounds=rounds(6, 4, 2))
    observations = loop(Search(of, SPACE, costs, morphs), batch=2)
    assert len(observations) == 12
    history = volumes(of, observations)
    assert history[-1] > history[5]


def test_batches_are_distinct_and_pending_trials_are_respected() -> None:
    of = spec(rounds=rounds(6, 30))
    search = Search(of, SPACE, costs)
    base = loop(Search(spec(rounds=rounds(6)), SPACE, costs))
    batch = search.next(base, 5)
    keys = [SPACE.key(s.candidate.parameters) for s in batch]
    assert len(set(keys)) == 5
    waiting = [pend(6 + i, s.candidate.parameters, "r2") for i, s in enumerate(batch)]
    more = search.next(base + waiting, 5)
    assert not {SPACE.key(s.candidate.parameters) for s in more} & set(keys)
    # A pending trial's expected gain no longer counts.
    assert more[0].gain is not None and batch[0].gain is not None and more[0].gain < batch[0].gain


def test_workers_never_wait_for_the_first_results() -> None:
    search = Search(spec(rounds=rounds(4, 4, 4)), SPACE, costs, morphs)
    observations: list[Observation] = []
    for _ in range(12):
        [s] = search.next(observations, 1)
        observations.append(Observation(len(observations), s.candidate, TrialState.RUNNING))
    assert [o.candidate.round for o in observations] == ["r1"] * 4 + ["r2"] * 4 + ["r3"] * 4
    assert {o.candidate.origin for o in observations} == {"sobol"}
    assert search.next(observations, 1) == []
    assert search.done(observations) is None
    finished = [replace(o, state=TrialState.STOPPED) for o in observations]
    assert search.done(finished) == "all rounds are complete"


def test_one_call_may_cross_rounds() -> None:
    search = Search(spec(rounds=rounds(6, 2, 1)), SPACE, costs, morphs)
    done = loop(Search(spec(rounds=rounds(5)), SPACE, costs))
    found = search.next(done, 10)
    assert [s.candidate.round for s in found] == ["r1", "r2", "r2", "r3"]
    assert [s.epochs for s in found] == [4, 4, 4, 2]


def test_morphs_name_parent_and_operators_and_need_stored_weights() -> None:
    of = spec(rounds=rounds(8, 0, 4))
    base = loop(Search(spec(rounds=rounds(8)), SPACE, costs))
    search = Search(of, SPACE, costs, morphs)
    front = {base[i].index for i in History(of, SPACE, base).front}
    children = search.next(base, 4)
    assert len(children) == 4
    for s in children:
        assert s.candidate.origin == "morphism" and s.candidate.operators == ("mutate",)
        assert s.candidate.parent in front and s.epochs == 2
    kept = min(front)
    bare = [replace(o, weights=o.index == kept) for o in base]
    assert {s.candidate.parent for s in search.next(bare, 3)} == {kept}
    none = [replace(o, weights=False) for o in base]
    assert {s.candidate.parent for s in search.next(none, 2)} == {None}


def test_epochs_of_a_pending_child_count_its_parents() -> None:
    of = spec(rounds=rounds(8, 0, 4))
    base = loop(Search(spec(rounds=rounds(8)), SPACE, costs))
    [child] = Search(of, SPACE, costs, morphs).next(base, 1)
    waiting = Observation(8, child.candidate, TrialState.QUEUED)
    assert History(of, SPACE, [*base, waiting]).epochs(waiting) == 6.0


def test_the_model_gets_the_epochs_of_each_round_with_the_inherited_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = spec(rounds={f"r{i}": {"trials": 4, "epochs": e} for i, e in ((1, 2), (2, 8), (3, 1))})
    told: list[list[float]] = []
    fit = gp.Fitter.fit

    def listen(self: gp.Fitter, features: Any, errors: Any, deviations: Any = None) -> Any:
        told.append([float(e) for e in features[:, -1]])
        return fit(self, features, errors, deviations)

    monkeypatch.setattr(gp.Fitter, "fit", listen)
    observations = loop(Search(of, SPACE, costs, morphs))
    asked = [gp.fidelity(o.epochs) for o in observations]
    assert told[-1] == asked[:-1]
    assert {o.epochs for o in observations[4:8]} == {8.0}
    assert all(o.epochs == observations[o.candidate.parent].epochs + 1.0 for o in observations[8:])  # type: ignore[index]


def test_infeasible_draws_are_returned_to_be_recorded_and_never_again() -> None:
    of = spec(rounds=rounds(6, 6), budgets={"model_size": 1500})
    observations = loop(Search(of, SPACE, costs), batch=3)
    states = [o.state for o in observations]
    assert states.count(TrialState.COMPLETED) == 12
    assert states.count(TrialState.INFEASIBLE) >= 3
    keys = [SPACE.key(o.candidate.parameters) for o in observations]
    assert len(set(keys)) == len(keys)
    for o in observations:
        assert o.values is not None
        assert (o.values["model_size"] <= 1500) == (o.state is TrialState.COMPLETED)


def test_the_error_of_an_empty_space_describes_the_draws() -> None:
    of = spec(budgets={"model_size": 10}, search={"max_draws": 120})
    search = Search(of, SPACE, costs)
    observations: list[Observation] = []
    with pytest.raises(SpaceEmpty, match=r"0 of 120 draws .*model_size <= 10 excludes 120 .*smallest seen"):
        while len(observations) < 500:
            found = search.next(observations, 1)
            assert not any(s.feasible for s in found)
            observations += [finish(len(observations) + i, s) for i, s in enumerate(found)]
    assert len(observations) == 120  # the recorded observations are passed on


def test_a_nearly_empty_space_is_searched_with_the_costs_as_a_guide() -> None:
    # One draw in a hundred fits: round 1 may end early, round 2 finds what fits by the estimate.
    of = spec(budgets={"model_size": 180}, rounds=rounds(3, 5), search={"max_draws": 300})
    observations = loop(Search(of, SPACE, costs), most=1500)
    completed = [o for o in observations if o.state is TrialState.COMPLETED]
    assert len(completed) == 8


def test_failures() -> None:
    of = spec(rounds=rounds(6, 3))
    base = loop(Search(spec(rounds=rounds(5)), SPACE, costs))
    [s] = Search(of, SPACE, costs).next(base, 1)
    lost = Observation(5, s.candidate, TrialState.FAILED, failure=FailureKind.FAULT)
    broken = replace(lost, failure=FailureKind.INVALID)
    key = SPACE.key(s.candidate.parameters)
    assert key in History(of, SPACE, [*base, broken]).seen
    assert key in History(of, SPACE, [*base, lost]).seen, "it has used its attempts"
    # A failed trial is a trial of its round; a network that was never trained is not.
    diverged = replace(broken, values=dict(s.costs))
    for observation, following in ((lost, "r2"), (diverged, "r2"), (broken, "r1")):
        assert Search(of, SPACE, costs).next([*base, observation], 1)[0].candidate.round == following


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FailureKind.FAULT, FailureKind.INVALID])
def test_the_model_learns_of_trials_that_diverge_or_end_in_a_fault(kind: FailureKind) -> None:
    # Above a rate of 0.003 every trial fails: Sobol points hit that region in half of the draws, a model that learns of it leaves it.
    of = spec(rounds=rounds(8, 16))
    search = Search(of, SPACE, costs)
    observations: list[Observation] = []
    while suggested := search.next(observations, 1):
        for one in suggested:
            place = len(observations)
            if float(one.candidate.parameters["learning_rate"]) <= 0.003:
                observations.append(finish(place, one))
                continue
            known = dict(one.costs) if kind is FailureKind.INVALID else None
            observations.append(Observation(place, one.candidate, TrialState.FAILED, known, failure=kind))
    keys = [SPACE.key(o.candidate.parameters) for o in observations]
    assert len(set(keys)) == len(keys) == 24, "none comes twice, and each is a trial of its round"
    chosen = [o for o in observations if o.candidate.origin == "gp"]
    failed = [o for o in chosen if o.state is TrialState.FAILED]
    assert len(chosen) >= 12
    assert len(failed) <= len(chosen) // 4


def test_constraints_that_nothing_meets_are_an_error() -> None:
    impossible = Space(SPACE.parameters, [Constraint(coefficients={"filters": 1.0}, bound=1.0)])
    with pytest.raises(SpaceEmpty, match=r"constraints = \['filters <= 1'\]: met by none of [0-9]+ random"):
        Search(spec(), impossible, costs).next([], 1)


def test_unbuildable_candidates_are_returned_with_their_error_and_never_chosen() -> None:
    def picky(p: Mapping[str, Value]) -> dict[str, float]:
        if p["kernel"] == 5:
            raise BuildError("the image is smaller than the kernel")
        return costs(p)

    of = spec(rounds=rounds(8, 6))
    search = Search(of, SPACE, picky)
    found: list[Suggestion] = search.next([], 8)
    broken = [s for s in found if s.error is not None]
    assert broken and all(not s.feasible and s.candidate.parameters["kernel"] == 5 for s in broken)
    assert sum(s.feasible for s in found) == 8
    observations = [finish(i, s) for i, s in enumerate(found)]
    assert {s.candidate.parameters["kernel"] == 5 for s in search.next(observations, 6)} == {False}
    # A whole run: what cannot be built uses up no trial of its round.
    run = loop(Search(of, SPACE, picky), batch=3)
    assert [o.candidate.round for o in run if o.state is TrialState.COMPLETED] == ["r1"] * 8 + ["r2"] * 6
    assert any(o.state is TrialState.FAILED for o in run)


@pytest.mark.parametrize("objectives", [OBJECTIVES, ("model_size", "latency")])
@pytest.mark.parametrize("first", [6, 0])
def test_a_space_in_which_nothing_can_be_built_ends(objectives: tuple[str, ...], first: int) -> None:
    def never(p: Mapping[str, Value]) -> dict[str, float]:
        raise BuildError("too narrow")

    of = spec(objectives, rounds=rounds(first, 6), search={"max_draws": 120})
    search = Search(of, SPACE, never)
    observations: list[Observation] = []
    with pytest.raises(SpaceEmpty, match=r"0 of \d+ draws .*\d+ of them cannot be built"):
        while len(observations) < 500:
            found = search.next(observations, 2)
            assert found and not any(s.feasible for s in found)
            observations += [finish(len(observations) + i, s) for i, s in enumerate(found)]
    assert len(observations) <= 170


def test_a_search_ends_when_nothing_more_can_be_built() -> None:
    def never(p: Mapping[str, Value]) -> dict[str, float]:
        raise BuildError("too narrow")

    search = Search(spec(rounds=rounds(6, 5), search={"max_draws": 60}), SPACE, never)
    observations = loop(Search(spec(rounds=rounds(6)), SPACE, costs))
    while search.done(observations) is None and len(observations) < 500:
        found = search.next(observations, 2)
        observations += [finish(len(observations) + i, s) for i, s in enumerate(found)]
    assert search.done(observations) == "the last 150 new candidates broke a budget or could not be built"


def test_a_finite_space_is_used_up_once() -> None:
    small = Space([Integer("filters", 1, 4), Categorical("pool", (True, False))])

    def cheap(p: Mapping[str, Value]) -> dict[str, float]:
        return {"model_size": 100.0 * float(p["filters"])}

    of = spec(("error", "model_size"), rounds=rounds(6, 20), budgets={"model_size": 300})
    search = Search(of, small, cheap)
    observations: list[Observation] = []
    for _ in range(20):
        for s in search.next(observations, 4):
            state = TrialState.COMPLETED if s.feasible else TrialState.INFEASIBLE
            values = {**s.costs, "error": 0.5 / float(s.candidate.parameters["filters"])}
            observations.append(Observation(len(observations), s.candidate, state, values, 4.0))
        if search.done(observations):
            break
    keys = [small.key(o.candidate.parameters) for o in observations]
    assert len(set(keys)) == len(keys)
    assert sum(o.state is TrialState.COMPLETED for o in observations) == 6
    assert search.done(observations) is not None and search.next(observations, 1) == []


def test_the_stopping_rule_ends_a_search_that_gains_nothing() -> None:
    of = spec(rounds=rounds(40), search={"stop": {"tolerance": 1.0, "trials": 5}})
    observations = loop(Search(of, SPACE, costs))
    assert len(observations) == 6
    reason = Search(of, SPACE, costs).done(observations)
    assert reason is not None and "converged" in reason and "tolerance 1" in reason


def without_latency(p: Mapping[str, Value]) -> dict[str, float]:
    """The costs before training where the latency is measured on a device."""
    return {k: v for k, v in costs(p).items() if k != "latency"}


def test_a_cost_that_only_finished_trials_know_falls_back_on_ax_in_round_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = loop(Search(spec(rounds=rounds(8)), SPACE, costs))
    answer = [SPACE.sample(np.random.default_rng(seed)) for seed in (1, 2)]
    asked: list[tuple[int, int, int]] = []

    def ask(of: Any, space: Space, history: History, n: int, round_number: int) -> list[dict[str, Value]]:
        asked.append((n, round_number, len(history.all)))
        return answer

    # Ax takes half a minute in this space; test_search_ax.py uses a smaller one.
    monkeypatch.setitem(sys.modules, "sparsemod.search.ax_acquisition", SimpleNamespace(ask=ask))
    of = spec(rounds=rounds(8, 2, 2))
    chosen = Search(of, SPACE, without_latency, morphs).next(base, 2)
    assert asked == [(2, 2, 8)]
    assert [s.candidate.parameters for s in chosen] == answer
    assert {(s.candidate.origin, s.candidate.round) for s in chosen} == {("gp", "r2")}
    # What Ax repeats is not suggested again: our own acquisition finds something new.
    answer[:] = [base[0].candidate.parameters] * 2
    chosen = Search(of, SPACE, without_latency, morphs).next(base, 2)
    assert len(asked) == 2 and [s.candidate.round for s in chosen] == ["r2", "r2"]
    assert not {SPACE.key(s.candidate.parameters) for s in chosen} & {
        SPACE.key(o.candidate.parameters) for o in base
    }
    # Where every cost is known, Ax is not used.
    Search(of, SPACE, costs, morphs).next(base, 2)
    assert len(asked) == 2


def test_a_cost_that_only_finished_trials_know_is_estimated_in_round_three() -> None:
    of = spec(("error", "latency"), rounds=rounds(24, 0, 1))
    base = loop(Search(spec(("error", "latency"), rounds=rounds(24)), SPACE, costs))
    [chosen] = Search(of, SPACE, without_latency, morphs).next(base, 1)
    [known] = Search(of, SPACE, costs, morphs).next(base, 1)
    assert chosen.candidate.origin == "morphism" and "latency" not in chosen.costs
    # The estimate was trained on 24 latencies: its expected gain is close to the exact one.
    assert chosen.gain == pytest.approx(known.gain, rel=0.2)


def test_importing_the_search_loads_neither_torch_nor_ax() -> None:
    code = "import sys, sparsemod.search; print(sorted({'torch', 'ax', 'botorch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert OBJECTIVES[0] == "error"


def test_later_rounds_wait_while_infeasible_draws_are_recorded() -> None:
    # Of 50 draws per call hardly one fits: the draws are recorded before any suggestion of round 2.
    of = spec(budgets={"model_size": 180}, rounds=rounds(8, 5), search={"max_draws": 5000})
    search = Search(of, SPACE, costs)
    observations: list[Observation] = []
    for _ in range(12):
        found = search.next(observations, 8)
        assert {s.candidate.round for s in found} == {"r1"}
        observations += [finish(len(observations) + i, s) for i, s in enumerate(found)]
        if sum(s.feasible for s in found) == 8:
            break
    assert len({SPACE.key(o.candidate.parameters) for o in observations}) == len(observations)


def test_a_result_that_is_not_a_number_is_not_learned_from() -> None:
    of = spec(rounds=rounds(6, 3))
    base = loop(Search(spec(rounds=rounds(5)), SPACE, costs))
    broken = replace(base[-1], index=5, values={**(base[-1].values or {}), "error": float("nan")})
    assert len(History(of, SPACE, [*base, broken]).completed) == 5
    assert len(Search(of, SPACE, costs).next([*base, broken], 1)) == 1
