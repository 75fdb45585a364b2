"""What a store must do, on SQLite and on PostgreSQL alike."""

import math

import pytest
from support_store import (
    Clock,
    Suggestion,
    completed,
    fault,
    fill,
    point,
    spec,
    stored_artifact,
    suggestions,
)

from service.schemas import AttemptState, ExperimentState, LogLine
from service.store import RELEASED, Store
from sparsemod.errors import Conflict, InvalidInput, InvalidSpec, NotFound, StaleLease
from sparsemod.problem import trial_seed
from sparsemod.records import Candidate, Failure, FailureKind, Measurement, TrialResult, TrialState

# -- experiments

pytest_plugins = ["support_store_fixtures"]


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


def test_what_is_not_there_is_not_found(store: Store) -> None:
    made = store.create_experiment(spec())
    for call in (
        lambda: store.experiment(99),
        lambda: store.stop(99),
        lambda: store.extend(99, {"r1": 1}),
        lambda: store.events(99),
        lambda: store.trials(99),
        lambda: store.records(99),
        lambda: store.rows(99),
        lambda: store.results(99),
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
    more = store.extend(made.id, {"r3": 5}, {"flash": "0.5 KB", "latency": "10 ms"}, "k")
    assert store.extend(made.id, {"r3": 5}, {"flash": "0.5 KB", "latency": "10 ms"}, "k") == more
    assert more.state is ExperimentState.RUNNING and more.finished_at is None and more.reason is None
    assert more.spec.rounds.r3.trials == 7
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
    assert [record.index for record in store.records(made)] == [0, 1, 2, 3, 4]


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
    records = store.records(made)
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


# -- attempts


def test_a_claim_says_everything_and_goes_to_one_worker(store: Store) -> None:
    made = store.create_experiment(spec())
    fill(store, made.id, 1)
    claim = store.claim("w", "gpu:0", 2)
    assert claim is not None and store.claim("v") is None
    assert (claim.experiment, claim.trial, claim.epochs, claim.seed) == (made.id, 0, 2, trial_seed(0, 0))
    assert claim.spec == made.spec and claim.lease_seconds == 60.0 and claim.parent is None
    trial = store.trial(made.id, 0)
    assert trial.state is TrialState.RUNNING
    assert [(a.worker, a.device, a.state) for a in trial.attempts] == [("w", "gpu:0", AttemptState.RUNNING)]


def test_a_repeated_claim_gets_the_same_trial(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w", request="r1")
    assert claim is not None
    assert store.claim("w", request="r1") == claim
    store.finish(claim.attempt, claim.token, completed())
    assert store.claim("w", request="r1") is None


def test_a_morph_gets_its_parents_files(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    weights = stored_artifact(store, b"weights")
    store.finish(claim.attempt, claim.token, completed(artifacts=(weights,)))
    child = Candidate(parameters={"width": 2}, origin="morphism", round="r3", parent=0, operators=("widen",))
    fill(store, made, [Suggestion(child)])
    morph = store.claim("w")
    assert morph is not None and morph.parent is not None
    assert (morph.parent.index, morph.parent.parameters, morph.parent.epochs) == (0, {"width": 0}, 2.0)
    assert morph.parent.artifacts == (weights,)
    assert store.records(made)[0].weights and not store.records(made)[1].weights
    assert store.trial(made, 0).artifacts[0].url == f"/artifacts/{weights.digest}"


def test_curve_and_log_are_stored_once(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    lines = [
        LogLine(time=1.5, level="info", message="begin\x00"),
        LogLine(time=1.5, level="info", message="ünï"),
    ]
    for _ in range(2):
        store.points(claim.attempt, claim.token, [point(1), point(2, math.nan)], lines)
    store.points(claim.attempt, claim.token, [point(2, math.inf)], lines[:1])
    store.finish(claim.attempt, claim.token, completed(curve=(point(1, 0.5), point(2, math.nan), point(3))))
    curve = store.curve(made, 0)
    assert [p.epoch for p in curve] == [1, 2, 3]
    assert curve[0].train_loss == 0.5 and math.isnan(curve[1].train_loss)
    assert [line.message for line in store.log(made, 0)] == ["begin\N{REPLACEMENT CHARACTER}", "ünï"]
    assert [line.message for line in store.log(made, 0, after=1)] == ["ünï"]


def test_a_resumed_trial_has_one_curve(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    first = store.claim("w")
    assert first is not None
    store.points(first.attempt, first.token, [point(1, 0.9), point(2, 0.8)])
    store.finish(first.attempt, first.token, fault())
    second = store.claim("w")
    assert second is not None
    store.points(second.attempt, second.token, [point(2, 0.7), point(3, 0.6)])
    assert [(p.epoch, p.train_loss) for p in store.curve(made, 0)] == [(1, 0.9), (2, 0.7), (3, 0.6)]


def test_a_result_is_stored_whole_and_finishing_is_idempotent(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    result = completed(seconds={"train": 1.25}, notes=("inherited 3 of 4 tensors",))
    answer = store.finish(claim.attempt, claim.token, result)
    assert answer.state is TrialState.COMPLETED
    before = store.trial(made, 0)
    assert store.finish(claim.attempt, claim.token, result) == answer
    assert store.finish(claim.attempt, claim.token, completed(error=0.9)) == answer
    assert store.trial(made, 0) == before  # a finished row never changes
    assert before.measurements == result.measurements
    assert (before.seconds, before.notes, before.trained_epochs) == (result.seconds, result.notes, 2.0)
    assert before.attempts[0].state is AttemptState.COMPLETED
    for call in (
        lambda: store.heartbeat(claim.attempt, claim.token),
        lambda: store.points(claim.attempt, claim.token, [point(9)]),
        lambda: store.checkpoint(claim.attempt, claim.token, "sha256:" + "0" * 64),
    ):
        with pytest.raises(StaleLease, match="nothing was changed"):
            call()
    assert store.trial(made, 0) == before


@pytest.mark.parametrize(
    ("result", "field"),
    [
        (completed(artifacts=({"kind": "w", "digest": "sha256:" + "0" * 64, "size": 1, "name": "w"},)), "artifacts.0.digest"),
        (TrialResult(state=TrialState.COMPLETED), "measurements"),
        (TrialResult(state=TrialState.FAILED), "failure"),
        (TrialResult(state=TrialState.RUNNING), "state"),
        (completed(error=math.nan), "measurements.0.value"),
        (completed(error=-3.0), "measurements.0.value"),
        (completed(error=5.0), "measurements.0.value"),
        (completed().model_copy(update={"measurements": (completed().measurements[0].model_copy(update={"unit": "%"}),)}), "measurements.0.unit"),
        (completed().model_copy(update={"measurements": completed().measurements * 2}), "measurements.2.metric"),
    ],
)  # fmt: skip
def test_a_result_that_contradicts_itself_is_refused(store: Store, result: TrialResult, field: str) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    with pytest.raises(InvalidInput) as caught:
        store.finish(claim.attempt, claim.token, result)
    assert caught.value.field == f"result.{field}"
    assert store.trial(made, 0).state is TrialState.RUNNING
    assert store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED


def test_faults_are_retried_up_to_the_limit(store: Store) -> None:
    made = store.create_experiment(spec(limits={"attempts": 2})).id
    fill(store, made, 1)
    states = []
    for detail in (RELEASED, "", RELEASED, ""):
        claim = store.claim("w")
        assert claim is not None
        states.append(store.finish(claim.attempt, claim.token, fault(detail=detail)).state)
    assert states == [TrialState.QUEUED, TrialState.QUEUED, TrialState.QUEUED, TrialState.FAILED]
    trial = store.trial(made, 0)
    assert trial.failure is not None and trial.failure.kind is FailureKind.FAULT
    assert [a.state for a in trial.attempts] == [
        AttemptState.RELEASED, AttemptState.FAILED, AttemptState.RELEASED, AttemptState.FAILED,
    ]  # fmt: skip


def test_a_network_that_cannot_be_built_is_never_tried_again(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    failure = Failure(kind=FailureKind.INVALID, message="too deep")
    result = TrialResult(state=TrialState.FAILED, failure=failure)
    assert store.finish(claim.attempt, claim.token, result).state is TrialState.FAILED
    assert store.trial(made, 0).failure == failure
    assert store.claim("w") is None


def test_a_lease_that_runs_out(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec(limits={"attempts": 2})).id
    fill(store, made, 1)
    first = store.claim("w")
    assert first is not None
    clock.advance(50)
    store.heartbeat(first.attempt, first.token)
    clock.advance(59)
    assert store.reap() == 0
    clock.advance(2)
    assert store.reap() == 1
    assert store.reap() == 0
    trial = store.trial(made, 0)
    assert trial.state is TrialState.QUEUED and trial.attempts[0].state is AttemptState.LOST
    assert trial.attempts[0].failure is not None and "61 s" in trial.attempts[0].failure.message
    for call in (
        lambda: store.heartbeat(first.attempt, first.token),
        lambda: store.points(first.attempt, first.token, [point(1)]),
        lambda: store.finish(first.attempt, first.token, completed()),
    ):
        with pytest.raises(StaleLease):
            call()
    assert store.curve(made, 0) == [] and store.trial(made, 0).state is TrialState.QUEUED
    second = store.claim("v")  # its holder cannot be disturbed by the first one
    assert second is not None and second.attempt != first.attempt
    with pytest.raises(StaleLease, match="not its token"):
        store.finish(second.attempt, first.token, completed())
    clock.advance(61)
    assert store.claim("u") is None  # claiming notices, too: the second attempt was the last one allowed
    trial = store.trial(made, 0)
    assert trial.state is TrialState.FAILED
    assert trial.failure is not None and trial.failure.kind is FailureKind.FAULT


def test_a_late_report_counts_as_long_as_nobody_took_over(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    clock.advance(1000)
    assert store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED
    assert store.reap() == 0


def test_stopping_one_trial(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    claim = store.claim("w")
    assert claim is not None
    assert store.stop_trial(made, 1).state is TrialState.STOPPED
    assert store.stop_trial(made, 1).state is TrialState.STOPPED
    assert store.stop_trial(made, 0).state is TrialState.RUNNING
    assert store.heartbeat(claim.attempt, claim.token).stop
    assert (
        store.finish(claim.attempt, claim.token, TrialResult(state=TrialState.STOPPED)).state
        is TrialState.STOPPED
    )
    other = store.claim("w")
    assert other is not None and other.trial == 2
    store.finish(other.attempt, other.token, completed())
    with pytest.raises(Conflict, match="is completed"):
        store.stop_trial(made, 2)


def test_workers_are_listed_with_what_they_hold(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    store.claim("idle-1")
    claim = store.claim("busy", "gpu:1", 3)
    assert claim is None  # idle-1 has it
    listed = {worker.name: worker for worker in store.workers()}
    assert listed["idle-1"].trials == ((made, 0),) and listed["busy"].trials == ()
    assert (listed["busy"].device, listed["busy"].slots) == ("gpu:1", 3)
    clock.advance(120)
    assert not any(worker.alive for worker in store.workers())
    clock.advance(7200)
    store.reap()
    assert store.workers() == []


# -- views


def test_trials_are_filtered_sorted_and_paged(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 5)
    for error in (0.3, 0.1, 0.2):
        claim = store.claim("w")
        assert claim is not None
        store.finish(claim.attempt, claim.token, completed(error=error))
    items, total = store.trials(made, sort="error", limit=4)
    assert ([t.index for t in items], total) == ([1, 2, 0, 3], 5)
    assert [t.index for t in store.trials(made, sort="error", descending=True)[0]] == [0, 2, 1, 3, 4]
    assert [t.index for t in store.trials(made, state=TrialState.QUEUED, descending=True)[0]] == [4, 3]
    assert [t.index for t in store.trials(made, limit=2, offset=4)[0]] == [4]
    assert store.trials(made, round="r2") == ([], 0) and store.trials(made, origin="sobol")[1] == 5
    assert store.trials(made)[0][1].values() == {"error": 0.1, "model_size": 500.0}
    with pytest.raises(InvalidInput, match="speed"):
        store.trials(made, sort="speed")


def test_events_are_counted_without_gaps(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    claim = store.claim("w")
    assert claim is not None
    store.points(claim.attempt, claim.token, [point(1)])
    store.finish(claim.attempt, claim.token, completed())
    store.stop(made)
    events = store.events(made)
    assert [e.counter for e in events] == list(range(1, len(events) + 1))
    assert [(e.kind, e.data.get("state")) for e in events] == [
        ("experiment", "running"), ("trial", "queued"), ("trial", "running"), ("points", None), ("trial", "completed"),
        ("experiment", "stopped"),
    ]  # fmt: skip
    assert [e.counter for e in store.events(made, after=4)] == [5, 6]
    assert store.events(made, after=6) == [] and store.experiment(made).revision == 6


def test_the_front_its_history_and_lineage(store: Store) -> None:
    made = store.create_experiment(spec(reference_point={"error": 1.0, "model_size": 1000.0})).id
    child = Candidate(
        parameters={"width": 3}, origin="morphism", round="r3", parent=1, operators=("widen", "deepen")
    )
    fill(store, made, [*suggestions(3), Suggestion(child)])
    claims = [store.claim("w") for _ in range(4)]
    # Completed in another order than they were begun; the third is over its budget.
    for place, error, size in ((1, 0.5, 500.0), (0, 0.6, 600.0), (2, 0.1, 2000.0), (3, 0.2, 800.0)):
        claim = claims[place]
        assert claim is not None
        test_error = Measurement(metric="error", value=0.9, unit="fraction", method="x", split="test")
        result = completed(error=error, size=size)
        store.finish(
            claim.attempt,
            claim.token,
            result.model_copy(update={"measurements": (test_error, *result.measurements)}),
        )
        store.pareto(made)  # the history goes on from here
    front = store.pareto(made)
    assert [(p.index, p.values()["error"]) for p in front.points] == [(3, 0.2), (1, 0.5)]
    assert [(a.index, a.operators) for a in front.points[0].lineage] == [(1, ("widen", "deepen"))]
    assert [h.index for h in front.history] == [1, 0, 2, 3] and [h.trials for h in front.history] == [
        1,
        2,
        3,
        4,
    ]
    assert [h.hypervolume for h in front.history] == pytest.approx(
        [0.25, 0.25, 0.25, 0.25 + 0.8 * 0.2 - 0.5 * 0.2]
    )
    assert front.hypervolume == front.history[-1].hypervolume and front.history[-1].round == "r3"
    fresh = Store(store.engine, store.clock)
    assert fresh.pareto(made) == front  # nothing depends on what was kept in memory
    tight = store.extend(made, {}, {"flash": 600})
    assert tight.spec.reference() == {"error": 1.0, "model_size": 1000.0}
    assert [p.index for p in store.pareto(made).points] == [1]
    name, objectives, rows = store.results(made)
    # The RAM is the device's own.
    assert name == "store test" and objectives.budgets == {"model_size": 600.0, "working_memory": 131072.0}
    assert [row.index for row in rows] == [1, 0, 2, 3]


def test_an_empty_front(store: Store) -> None:
    front = store.pareto(store.create_experiment(spec()).id)
    assert (front.points, front.hypervolume, front.history) == ((), 0.0, ())
