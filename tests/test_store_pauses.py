"""Missing resources of a machine: no attempt is used, the affected worker or experiment is paused with a
reason, others continue, and pauses end automatically."""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support_store import Clock, completed, fault, fill, spec

from service.http.app import create_app
from service.http.housekeeping import Housekeeping
from service.schemas.trials import ExperimentState
from service.schemas.workers import Claim
from service.settings import Settings
from service.store import Store
from service.store.pauses import PAUSE_SECONDS
from service.store.reports import FILES, WHOLE
from sparsemod.errors import Conflict, ServerUnavailable
from sparsemod.records import Failure, FailureKind, TrialResult, TrialState

pytest_plugins = ["support_store_fixtures"]

FIRST, LONGEST = PAUSE_SECONDS


def lacking(message: str, detail: str = "") -> TrialResult:
    failure = Failure(kind=FailureKind.ENVIRONMENT, message=message, detail=detail)
    return TrialResult(state=TrialState.FAILED, failure=failure)


def taken(store: Store, worker: str) -> Claim:
    claim = store.claim(worker)
    assert claim is not None
    return claim


def give_back(store: Store, worker: str, message: str, detail: str = "") -> None:
    claim = taken(store, worker)
    assert store.finish(claim.attempt, claim.token, lacking(message, detail)).state is TrialState.QUEUED


def test_a_worker_without_the_family_burns_nothing_and_leaves_the_trial_to_others(
    store: Store, clock: Clock
) -> None:
    made = store.create_experiment(spec(limits={"attempts": 1})).id
    other = store.create_experiment(spec()).id
    fill(store, made, 1)
    fill(store, other, 1)
    give_back(store, "poor", "network.family = 'own': known: cnn, mlp")
    claim = taken(store, "poor")
    assert claim.experiment == other, "another experiment is none of it"
    assert store.claim("poor") is None
    [pause] = store.pauses()
    assert (pause.worker, pause.experiment, pause.reason) == (
        "poor",
        made,
        "network.family = 'own': known: cnn, mlp",
    )
    [view] = [worker for worker in store.workers() if worker.name == "poor"]
    assert view.pauses == (pause,)
    assert store.experiment(made).paused == "poor: network.family = 'own': known: cnn, mlp", (
        "no other worker is there"
    )
    good = taken(store, "good")
    assert (good.experiment, good.trial) == (made, 0)
    assert store.experiment(made).paused is None
    assert store.finish(good.attempt, good.token, completed()).state is TrialState.COMPLETED


def test_a_pause_ends_by_itself_and_grows_when_it_comes_again(store: Store, clock: Clock) -> None:
    made = store.create_experiment(spec(limits={"attempts": 1})).id
    fill(store, made, 1)
    expected = FIRST
    for _ in range(8):
        give_back(store, "w", "dataset 'faces': missing train.bin")
        [pause] = store.pauses()
        assert (pause.until.timestamp() - clock.now) == pytest.approx(expected)
        clock.advance(expected - 0.1)
        assert store.claim("w") is None
        clock.advance(0.2)
        expected = min(2 * expected, LONGEST)
    claim = taken(store, "w")
    assert store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED
    assert store.pauses() == []
    fill(store, made, 1)
    give_back(store, "w", "again")
    assert store.pauses()[0].until.timestamp() - clock.now == pytest.approx(FIRST), (
        "it had gone well meanwhile"
    )


def test_a_worker_without_space_gets_nothing_at_all_until_it_starts_again(store: Store) -> None:
    made = store.create_experiment(spec()).id
    other = store.create_experiment(spec()).id
    fill(store, made, 2)
    fill(store, other, 2)
    give_back(store, "w", "No space left on device", WHOLE)
    assert store.claim("w") is None
    assert store.experiment(made).paused == store.experiment(other).paused == "w: No space left on device"
    items, _ = store.experiments()
    assert [item.paused for item in items] == ["w: No space left on device"] * 2
    assert taken(store, "x").experiment == made
    assert store.claim("w", started=True) is not None, "a new process: perhaps on a mended machine"


def test_undoing_a_drain_ends_a_pause(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    give_back(store, "w", "No CUDA GPUs are available", WHOLE)
    store.drain_worker("w", False)
    assert store.claim("w") is not None


def test_files_that_are_gone_pause_the_experiment_and_resume_tries_at_once(store: Store) -> None:
    made = store.create_experiment(spec()).id
    other = store.create_experiment(spec()).id
    fill(store, made, 1)
    give_back(store, "w", "could not fetch the trial's input files: no artifact 'sha256:0'", FILES)
    assert store.claim("x") is None
    assert store.experiment(made).paused == "could not fetch the trial's input files: no artifact 'sha256:0'"
    assert store.experiment(made).state is ExperimentState.RUNNING
    assert store.experiment(other).paused is None
    events = [event.data for event in store.events(made) if event.kind == "experiment"]
    assert events[-1] == {
        "paused": "could not fetch the trial's input files: no artifact 'sha256:0'",
        "worker": None,
    }
    assert store.resume(made).paused is None
    assert taken(store, "x").experiment == made


def test_a_deleted_experiment_takes_its_pauses_along(store: Store) -> None:
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    give_back(store, "w", "missing")
    store.delete_experiment(made)
    assert store.pauses() == []


# -- trying failed trials again -------------------------------------------------------------------------------------------------------


def fail(store: Store, result: TrialResult) -> None:
    claim = taken(store, "w")
    assert store.finish(claim.attempt, claim.token, result).state is TrialState.FAILED


def test_failed_trials_are_tried_again_with_all_their_attempts(store: Store) -> None:
    made = store.create_experiment(spec(limits={"attempts": 2})).id
    fill(store, made, 3)
    for _ in range(2):  # both attempts of trials 0 and 1
        claim = taken(store, "w")
        store.finish(claim.attempt, claim.token, fault())
        fail(store, fault())
    fail(
        store,
        TrialResult(state=TrialState.FAILED, failure=Failure(kind=FailureKind.INVALID, message="too deep")),
    )
    store.finish_experiment(made, ExperimentState.DONE, "all rounds are complete")
    assert store.retry(made) == [0, 1], "what cannot be built would fail again"
    view = store.experiment(made)
    assert view.state is ExperimentState.RUNNING
    assert (view.counts[TrialState.QUEUED], view.counts[TrialState.FAILED]) == (2, 1)
    assert store.retry(made) == [], "there is nothing left to do"
    trial = store.trial(made, 0)
    assert (trial.state, trial.failure, trial.finished_at, len(trial.attempts)) == (
        TrialState.QUEUED,
        None,
        None,
        2,
    )
    claim = taken(store, "w")
    assert store.finish(claim.attempt, claim.token, fault()).state is TrialState.QUEUED, (
        "its attempts count anew"
    )
    fail(store, fault())
    assert store.retry(made, [2, 0]) == [0, 2]
    claim = taken(store, "w")
    assert store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED
    with pytest.raises(
        Conflict, match="trial 0 is completed: only a failed or a stopped trial can be retried"
    ):
        store.retry(made, [1, 0])


# -- the server's own machine ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data_dir=tmp_path)), raise_server_exceptions=False) as client:
        yield client


def test_a_full_disk_of_the_server_pauses_trials_with_a_reason(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = http.app.state.store  # type: ignore[attr-defined]
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    content = b"weights"
    address = "/artifacts/sha256:" + hashlib.sha256(content).hexdigest()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sparsemod.files.os.fsync", full)
    answer = http.put(address, content=content)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "NoSpace"
    assert "No space left on device" in answer.json()["error"]["message"]
    assert store.claim("w") is None
    [pause] = http.get("/health").json()["pauses"]
    assert "No space left on device" in pause["reason"]
    [listed] = http.get("/experiments").json()["items"]
    assert listed["paused"] == pause["reason"]
    monkeypatch.undo()
    assert http.put(address, content=content).status_code == 200
    assert store.pauses() == []  # the answer of /health may be a second old
    assert store.claim("w") is not None


def test_retry_over_http(http: TestClient) -> None:
    store: Store = http.app.state.store  # type: ignore[attr-defined]
    made = store.create_experiment(spec(limits={"attempts": 1})).id
    fill(store, made, 1)
    fail(store, fault())
    assert http.post(f"/experiments/{made}/retry", json={}).json() == {"trials": [0]}
    assert http.post(f"/experiments/{made}/retry", json={"trials": [0]}).status_code == 409
    assert http.post(f"/experiments/{made}/retry", json={"trials": [7]}).status_code == 404
    assert http.post(f"/experiments/{made}/retry", json={"trials": ["0"]}).status_code == 422
    assert http.post("/experiments/99/retry", json={}).status_code == 404


def test_leases_do_not_run_out_while_the_database_is_away(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}", clock=clock, lease_seconds=60.0)
    made = store.create_experiment(spec(limits={"attempts": 1})).id
    fill(store, made, 1)
    claim = taken(store, "w")
    real, looked = store.reap, threading.Event()

    def away() -> int:
        looked.set()
        raise ServerUnavailable("the database does not answer")

    keeping = Housekeeping(store, None, pause=0.001)  # type: ignore[arg-type]
    clock.advance(100.0)  # as long as it was away
    monkeypatch.setattr(store, "reap", away)
    keeping.start()
    assert looked.wait(20)
    keeping.close()
    assert real() == 0
    assert store.claim("x") is None
    assert store.finish(claim.attempt, claim.token, completed()).state is TrialState.COMPLETED
    store.close()
