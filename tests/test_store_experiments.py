"""Experiments and their queues in a store, on SQLite and PostgreSQL."""

import pytest
from support_store import (
    Clock,
    Suggestion,
    completed,
    fill,
    spec,
    stored_artifact,
    suggestions,
)

from service.schemas.trials import ExperimentState
from service.store import Store
from sparsemod.errors import Conflict, InvalidInput, InvalidSpec, NotFound, StaleLease
from sparsemod.pipeline.problem import trial_seed
from sparsemod.records import Candidate, Failure, FailureKind, TrialResult, TrialState

pytest_plugins = ["support_store_fixtures"]


# -- experiments


def test_an_experiment_comes_back_as_it_was_given(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec())
    clock.advance(10)
    found = store.experiment(made.id)
    assert found == made
    assert found.spec == spec()
    assert found.state is ExperimentState.RUNNING
    assert found.created_at.timestamp() == clock.now - 10
    assert found.rounds["r2"].trials == 4 and found.rounds["r2"].epochs == 3
    assert set(found.counts) == set(TrialState) and not any(found.counts.values())


def test_experiments_are_listed_newest_first(store: Store) -> None:
    numbers = [store.create_experiment(spec(name=f"e{i}")).id for i in range(3)]
    items, total = store.experiments(limit=2)
    assert ([item.id for item in items], total) == ([numbers[2], numbers[1]], 3)
    assert [item.id for item in store.experiments(limit=2, offset=2)[0]] == [numbers[0]]
    assert store.active_experiments() == numbers


def test_a_repeated_key_makes_one_experiment(store: Store) -> None:
    first = store.create_experiment(spec(), "key-1")
    assert store.create_experiment(spec(), "key-1").id == first.id
    with pytest.raises(Conflict, match="key-1"):
        store.create_experiment(spec(name="other"), "key-1")
    assert store.experiments()[1] == 1
    assert store.forget_requests(older_than=-1) == 1
    assert store.create_experiment(spec(), "key-1").id != first.id


def test_missing_objects_raise_not_found(store: Store) -> None:
    made = store.create_experiment(spec())
    for call in (
        lambda: store.experiment(99),
        lambda: store.stop(99),
        lambda: store.extend(99, {"r1": 1}),
        lambda: store.events(99),
        lambda: store.trials(99),
        lambda: store.observations(99),
        lambda: store.trial_indices(99),
        lambda: store.pareto(99),
        lambda: store.attach(99, {}),
        lambda: store.lease_suggester(99, "me"),
        lambda: store.trial(made.id, 0),
        lambda: store.curve(made.id, 0),
        lambda: store.log(made.id, 0),
        lambda: store.stop_trial(made.id, 0),
        lambda: store.heartbeat(99, "t"),
        lambda: store.points(99, "t"),
        lambda: store.finish(99, "t", completed()),
        lambda: store.artifact("sha256:" + "0" * 64),
    ):
        with pytest.raises(NotFound):
            call()


def test_stop_and_resume(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None
    assert store.stop(made).state is ExperimentState.STOPPED
    assert store.stop(made).state is ExperimentState.STOPPED  # again: nothing more happens
    assert store.claim("w") is None
    assert store.heartbeat(claim.attempt, claim.token).stop
    weights = stored_artifact(store, b"checkpoint")
    store.checkpoint(claim.attempt, claim.token, weights.digest)
    ended = store.finish(claim.attempt, claim.token, TrialResult(state=TrialState.STOPPED))
    assert ended.state is TrialState.QUEUED  # no trial is lost
    assert store.active_experiments() == []
    assert store.resume(made).state is ExperimentState.RUNNING
    again = store.claim("w")
    assert again is not None
    assert (again.trial, again.checkpoint) == (claim.trial, weights.digest)
    assert not store.heartbeat(again.attempt, again.token).stop


def test_the_end_of_an_experiment(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None
    done = store.finish_experiment(made, ExperimentState.DONE, "converged")
    assert (done.state, done.reason) == (ExperimentState.DONE, "converged")
    assert done.counts[TrialState.STOPPED] == 1 and done.finished_at is not None
    assert (
        store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED
    )  # what runs may end
    with pytest.raises(Conflict, match="is done"):
        store.stop(made)
    with pytest.raises(Conflict, match="is done"):
        fill(store, made, 1)
    with pytest.raises(InvalidInput, match="done or failed"):
        store.finish_experiment(made, ExperimentState.RUNNING, "")


def test_extending_runs_a_done_experiment_again_with_the_same_reference_point(store: Store) -> None:
    made = store.create_experiment(spec())
    reference = made.spec.reference()
    store.finish_experiment(made.id, ExperimentState.DONE, "all rounds are over")
    more = store.extend(made.id, {"r3": 5}, {"size": "0.5 KB", "latency": "10 ms"}, "k")
    assert store.extend(made.id, {"r3": 5}, {"size": "0.5 KB", "latency": "10 ms"}, "k") == more
    assert more.state is ExperimentState.RUNNING and more.finished_at is None and more.reason is None
    assert more.spec.source.rounds.r3.trials == 7
    assert more.spec.budgets == {"model_size": 512.0, "latency": 10.0}
    assert more.spec.reference() == reference
    assert store.extend(made.id, {}, {"latency": None}).spec.budgets == {"model_size": 512.0}
    for rounds, budgets in (
        ({"r4": 1}, None),
        ({"r1": -1}, None),
        ({}, None),
        ({}, {"speed": 1}),
        ({}, {"error": "x"}),
    ):
        with pytest.raises(InvalidInput):
            store.extend(made.id, rounds, budgets)
    with pytest.raises(InvalidSpec):
        store.extend(made.id, {"r1": 99_999_999})


def test_progress_counts_like_the_search(store: Store) -> None:
    made = store.create_experiment(spec()).id
    store.attach(made, {"layers": 1})
    fill(store, made, suggestions(4))
    fill(store, made, suggestions(2, feasible=False, over={"model_size": 9.0}))
    fill(store, made, suggestions(1, feasible=False, error="too deep"))
    claims = [store.claim("w") for _ in range(5)]
    invalid = Failure(kind=FailureKind.INVALID, message="it diverged")
    fault = Failure(kind=FailureKind.INVALID, message="cannot be built")
    results = [
        TrialResult(state=TrialState.FAILED, failure=fault),  # the manual one
        completed(),
        TrialResult(state=TrialState.FAILED, failure=invalid, measurements=completed().measurements[:1]),
        TrialResult(state=TrialState.FAILED, failure=fault),
    ]
    for claim, result in zip(claims, results, strict=False):
        assert claim is not None
        store.finish(claim.attempt, claim.token, result)
    rounds = store.experiment(made).rounds
    assert (rounds["manual"].done, rounds["manual"].trials) == (1, 1)
    assert rounds["r1"].counts == {
        TrialState.COMPLETED: 1,
        TrialState.FAILED: 3,
        TrialState.INFEASIBLE: 2,
        TrialState.RUNNING: 1,
    }
    assert rounds["r1"].done == 2, "the completed one, and the one that was trained and diverged"
    records = [one for one in store.observations(made) if one.candidate.round == "r1"]
    assert sum(not one.miss and not one.pending for one in records) == 2
    assert store.experiments(10, 0)[0][0].rounds == rounds


@pytest.mark.parametrize(
    ("given", "steps", "expected"),
    [
        ({}, ["4 KB"], 4096.0),  # values beyond the reference point would add no hypervolume
        ({}, ["500 B"], 1000.0),
        ({}, ["500 B", "900 B"], 1000.0),
        ({}, ["500 B", "4 KB"], 4096.0),
        ({}, [None], 524_288.0),  # the device's flash
        ({"model_size": 700.0}, ["4 KB"], 700.0),  # intended: it was below the budget
        ({"model_size": 2000.0}, ["1.5 KB", "1 MB"], 1_048_576.0),
    ],
)
def test_a_budget_that_is_loosened_takes_the_reference_point_along(
    store: Store, given: dict[str, float], steps: list[str | None], expected: float
) -> None:
    made = store.create_experiment(spec(reference_point=given)).id
    for limit in steps:
        store.extend(made, {}, {"size": limit})
    assert store.experiment(made).spec.reference() == {"error": 1.0, "model_size": expected}


def test_a_failed_experiment_needs_other_budgets(store: Store) -> None:
    made = store.create_experiment(spec()).id
    store.finish_experiment(made, ExperimentState.FAILED, "no candidate meets the budgets")
    with pytest.raises(Conflict, match="other budgets"):
        store.extend(made, {"r1": 1})
    with pytest.raises(Conflict, match="no candidate"):
        store.attach(made, {})
    assert store.extend(made, {}, {"flash": "2 KB"}).state is ExperimentState.RUNNING


# -- the queue


def test_indices_are_dense_and_only_the_holder_of_the_lease_queues(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    lease = store.lease_suggester(made, "a", seconds=30)
    assert lease is not None
    assert store.lease_suggester(made, "b") is None
    assert store.queue(lease, suggestions(2)) == [0, 1]
    store.renew_suggester(lease, seconds=30)
    assert store.attach(made, {"width": 5}).index == 2
    assert store.queue(lease, suggestions(1)) == [3]
    clock.advance(31)
    other = store.lease_suggester(made, "b")
    assert other is not None
    for call in (lambda: store.queue(lease, suggestions(1)), lambda: store.renew_suggester(lease)):
        with pytest.raises(StaleLease):
            call()
    store.release_suggester(lease)  # not its lease any more: nothing happens
    assert store.queue(other, suggestions(1)) == [4]
    store.release_suggester(other)
    assert store.lease_suggester(made, "c") is not None
    assert [record.index for record in store.observations(made)] == [0, 1, 2, 3, 4]


def test_a_restarted_suggester_takes_its_lease_and_the_old_one_is_fenced(store: Store) -> None:
    made = store.create_experiment(spec()).id
    old = store.lease_suggester(made, "host-1")
    new = store.lease_suggester(made, "host-1")
    assert old is not None and new is not None
    with pytest.raises(StaleLease):
        store.queue(old, suggestions(1))
    assert store.queue(new, suggestions(1)) == [0]


def test_infeasible_and_impossible_candidates_are_recorded_finished(store: Store) -> None:
    made = store.create_experiment(spec()).id
    candidate = Candidate(parameters={"width": 9}, origin="gp", round="r2")
    fill(
        store,
        made,
        [
            Suggestion(candidate, costs={"model_size": 1500.0}, feasible=False, over={"model_size": 500.0}),
            Suggestion(candidate, error="kernel 5 does not fit"),
        ],
    )
    infeasible, impossible = store.trial(made, 0), store.trial(made, 1)
    assert infeasible.state is TrialState.INFEASIBLE and infeasible.finished_at is not None
    assert infeasible.values() == {"model_size": 1500.0} and infeasible.measurements[0].unit == "B"
    assert infeasible.notes == ("model_size is 500 B over its budget",)
    assert impossible.state is TrialState.FAILED
    assert impossible.failure == Failure(kind=FailureKind.INVALID, message="kernel 5 does not fit")
    assert store.claim("w") is None
    records = store.observations(made)
    assert records[0].values == {"model_size": 1500.0} and records[1].failure is FailureKind.INVALID


def test_attaching_makes_one_trial_per_key_and_wakes_a_done_experiment(store: Store) -> None:
    made = store.create_experiment(spec()).id
    trial = store.attach(made, {"width": 3, "flag": True, "rate": 0.5, "kind": "x"}, key="k")
    assert store.attach(made, {"width": 3, "flag": True, "rate": 0.5, "kind": "x"}, key="k") == trial
    assert trial.candidate.origin == "manual" and trial.epochs == 3
    assert trial.seed == trial_seed(0, 0)
    assert store.experiment(made).rounds["manual"].trials == 1
    store.finish_experiment(made, ExperimentState.DONE, "over")
    assert store.attach(made, {"width": 4}, epochs=9).epochs == 9
    assert store.experiment(made).state is ExperimentState.RUNNING
