"""Attempts at trials in a store (claims, reports, expired leases) on SQLite and PostgreSQL."""

import math
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support_store import (
    Clock,
    Suggestion,
    completed,
    fault,
    fill,
    point,
    spec,
    stored_artifact,
)

from service.http.app import create_app
from service.schemas.trials import AttemptState, LogLine
from service.schemas.workers import ClaimRequest
from service.settings import Settings
from service.store import RELEASED, Store
from sparsemod.errors import Conflict, InvalidInput, StaleLease
from sparsemod.pipeline.problem import trial_seed
from sparsemod.records import Candidate, Failure, FailureKind, TrialResult, TrialState

pytest_plugins = ["support_store_fixtures"]


def test_a_claim_is_complete_and_goes_to_one_worker(store: Store) -> None:
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
    assert store.observations(made)[0].weights and not store.observations(made)[1].weights
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
    with pytest.raises(StaleLease, match="token does not match"):
        store.finish(second.attempt, first.token, completed())
    clock.advance(61)
    assert store.claim("u") is None  # claiming notices, too: the second attempt was the last one allowed
    trial = store.trial(made, 0)
    assert trial.state is TrialState.FAILED
    assert trial.failure is not None and trial.failure.kind is FailureKind.FAULT


def test_workers_have_time_to_renew_after_a_server_was_away(
    store: Store, database: str, clock: Clock, tmp_path: Path
) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    living, dead = store.claim("living"), store.claim("dead")
    assert living is not None and dead is not None
    clock.advance(1000)  # without a server
    with TestClient(create_app(Settings(data_dir=tmp_path, database_url=database), store=store)):
        pass  # as a server begins
    assert store.reap() == 0
    assert store.claim("other") is None
    store.heartbeat(living.attempt, living.token)
    clock.advance(59)
    store.heartbeat(living.attempt, living.token)
    assert store.reap() == 0
    clock.advance(1)
    assert store.reap() == 1
    states = [store.trial(made, index).attempts[0].state for index in (0, 1)]
    assert states == [AttemptState.RUNNING, AttemptState.LOST]


def test_a_late_report_counts_until_another_worker_takes_over(store: Store, clock: Clock) -> None:
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


def test_workers_are_listed_with_their_trials(store: Store, clock: Clock) -> None:
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


def test_a_report_claims_the_next_trial(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    claim = store.claim("w", request="first")
    assert claim is not None
    ask = ClaimRequest(worker="w", request="second")
    line = LogLine(time=1.0, level="info", message="done")
    outcome = store.finish_and_claim(claim.attempt, claim.token, completed(), ask, [line])
    assert (outcome.state, outcome.trial) == (TrialState.COMPLETED, 0)
    assert outcome.next is not None and outcome.next.trial == 1
    assert outcome.next.model_dump() == store.claim("w", request="second").model_dump()  # type: ignore[union-attr]
    # The answer was lost: the same report gets the same claim, and no other trial is handed out.
    again = store.finish_and_claim(claim.attempt, claim.token, completed(), ask, [line])
    assert again == outcome
    assert [t.state.value for t in store.trials(made)[0]] == ["completed", "running", "queued"]
    assert [entry.message for entry in store.log(made, 0)] == ["done"]
    kinds = [(e.counter, e.data.get("index"), e.data.get("state")) for e in store.events(made)][-3:]
    last = kinds[-1][0]
    assert kinds == [(last - 2, 0, "running"), (last - 1, 0, "completed"), (last, 1, "running")]


def test_a_draining_worker_gets_no_trial_with_its_report(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None
    store.drain_worker("w", True)
    ask = ClaimRequest(worker="w", request="next")
    assert store.finish_and_claim(claim.attempt, claim.token, completed(), ask).next is None
    assert store.trial(made, 0).state is TrialState.COMPLETED


def test_a_refused_report_claims_nothing(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None
    ask = ClaimRequest(worker="w", request="next")
    bad = TrialResult(state=TrialState.COMPLETED)
    with pytest.raises(InvalidInput, match=r"result\.measurements"):
        store.finish_and_claim(claim.attempt, claim.token, bad, ask)
    assert [t.state.value for t in store.trials(made)[0]] == ["running", "queued"]


def test_a_report_claims_from_another_experiment(store: Store) -> None:
    first, second = store.create_experiment(spec()).id, store.create_experiment(spec()).id
    fill(store, first)
    fill(store, second)
    claim = store.claim("w")
    assert claim is not None
    ask = ClaimRequest(worker="w", request="next")
    following = store.finish_and_claim(claim.attempt, claim.token, completed(), ask).next
    assert following is not None and (following.experiment, following.trial) == (second, 0)
