"""The suggester: fills the queue, ends experiments, survives its own death and the database's absence, never doubles a trial."""

import errno
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support_store import Clock
from support_suggester import complete, make_spec, open_store, quick_search, work

import service.suggester.suggester
from service.schemas.trials import ExperimentState
from service.suggester.suggester import Suggester
from service.suggester.suggester import build_search as real_search
from sparsemod.errors import (
    DataMissing,
    EnvironmentFailure,
    InvalidInput,
    ProcessUnusable,
    ServerUnavailable,
    SpaceEmpty,
    UnknownName,
)
from sparsemod.records import TrialState


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.suggester.suggester, "build_search", quick_search)


def test_the_queue_is_kept_ahead_and_the_experiment_ends(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=2)
    assert suggester.step()
    assert store.experiment(identity).counts[TrialState.QUEUED] == 2
    assert not suggester.step(), "the queue is full"
    while store.experiment(identity).state is ExperimentState.RUNNING:
        suggester.step()
        work(store, 1)
    view = store.experiment(identity)
    assert (view.state, view.reason) == (ExperimentState.DONE, "all rounds are complete")
    records = store.observations(identity)
    assert [record.index for record in records] == list(range(7))
    assert [record.candidate.round for record in records] == ["r1"] * 4 + ["r2"] * 3
    assert len({str(record.candidate.parameters) for record in records}) == 7


def test_a_process_that_cannot_search_ends_without_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither records candidates that it cannot judge nor keeps its lease: a new process takes over at once."""

    def unusable(*_: Any) -> Any:
        raise ProcessUnusable("torch.export could not be loaded")

    monkeypatch.setattr(service.suggester.suggester, "build_search", unusable)
    store, stop = open_store(tmp_path), threading.Event()
    identity = store.create_experiment(make_spec()).id
    with pytest.raises(ProcessUnusable):
        Suggester(store, holder="first", ahead=1).run(stop)
    view = store.experiment(identity)
    assert view.state is ExperimentState.RUNNING and not store.searches_paused()
    assert store.observations(identity) == []
    monkeypatch.setattr(service.suggester.suggester, "build_search", quick_search)
    assert Suggester(store, holder="second", ahead=1).step()
    assert len(store.observations(identity)) == 1


def test_batches_are_whole_distinct_and_consider_pending_trials(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rounds = {f"r{i}": {"trials": n, "epochs": 1} for i, n in ((1, 6), (2, 9), (3, 0))}
    identity = store.create_experiment(make_spec(search={"batch_size": 3}, rounds=rounds)).id
    suggester = Suggester(store, ahead=1)
    sizes, slow = [], None
    while store.experiment(identity).state is ExperimentState.RUNNING:
        before = len(store.observations(identity))
        suggester.step()
        sizes.append(len(store.observations(identity)) - before)
        # The last trial of each batch is still running when the next batch is chosen.
        if slow is not None:
            complete(store, slow)
        work(store, 2)
        slow = store.claim("slow")
    assert [size for size in sizes if size] == [3] * 5
    records = store.observations(identity)
    assert [record.candidate.origin for record in records] == ["sobol"] * 6 + ["gp"] * 9
    assert len({str(record.candidate.parameters) for record in records}) == 15


def test_a_suggester_that_is_replaced_at_every_step_suggests_the_same(tmp_path: Path) -> None:
    found = []
    for replaced in (False, True):
        folder = tmp_path / str(replaced)
        folder.mkdir()
        store = open_store(folder)
        identity = store.create_experiment(make_spec()).id
        suggester = Suggester(store, holder="same name", ahead=1)
        while store.experiment(identity).state is ExperimentState.RUNNING:
            if replaced:
                suggester = Suggester(store, holder="same name", ahead=1)
            suggester.step()
            work(store, 1)
        found.append([record.candidate for record in store.observations(identity)])
    assert found[0] == found[1]


def test_a_suggester_that_lost_its_lease_queues_nothing(tmp_path: Path) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    identity = store.create_experiment(make_spec()).id
    first, second = (Suggester(store, holder=name, ahead=2) for name in ("first", "second"))
    assert first.step()
    assert not second.step(), "the lease is the first one's"
    work(store, 1)
    clock.advance(1000)
    assert second.step(), "the lease ran out"
    assert store.experiment(identity).counts[TrialState.QUEUED] == 2
    work(store, 1)
    # The first one wakes up, believing that the lease is still its own.
    assert not first.step()
    assert [record.index for record in store.observations(identity)] == [0, 1, 2]
    assert second.step()


@pytest.mark.parametrize(
    "missing",
    [
        DataMissing("faces", ["train.bin"], "/data"),
        UnknownName("network.family", "own", ["cnn"]),
        UnknownName("source.name", "own", ["grid"]),
        UnknownName("pipeline.2", "own", ["build"]),
        UnknownName("training.optimizer.name", "own", ["adam"]),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_missing_resource_pauses_the_search_which_resumes_automatically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Exception
) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    identity = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=2)
    assert suggester.step()
    assert store.claim("w") is not None

    def lacking(spec: Any, watch: Any = None) -> Any:
        raise missing

    monkeypatch.setattr(service.suggester.suggester, "build_search", lacking)
    replaced = Suggester(store, ahead=2, holder=suggester._holder)
    assert replaced.step()
    view = store.experiment(identity)
    assert view.state is ExperimentState.RUNNING
    assert view.paused is not None and view.paused in str(missing).replace("[Errno 28] ", "")
    assert store.claim("w") is not None, "what is queued goes on"
    assert not replaced.step(), "not before the pause is over"
    monkeypatch.setattr(service.suggester.suggester, "build_search", quick_search)
    assert not replaced.step()
    clock.now += 6
    assert replaced.step()
    assert store.experiment(identity).paused is None
    assert store.experiment(identity).counts[TrialState.QUEUED] == 2


def test_data_that_are_away_are_the_machines_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def away(spec: Any, **_: Any) -> Any:
        cause = ConnectionError("no route to the share")
        raise InvalidInput("dataset", "faces", "its source raised ConnectionError: no route") from cause

    monkeypatch.setattr("sparsemod.data.load", away)
    with pytest.raises(EnvironmentFailure, match="no route"):
        real_search(make_spec())


def test_in_step_the_next_batch_waits_for_the_one_before(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec(search={"in_step": True, "batch_size": 2})).id
    suggester = Suggester(store, ahead=9)
    assert suggester.step()
    assert len(store.observations(identity)) == 2
    slow = store.claim("slow")
    work(store, 1)
    assert not suggester.step(), "one is still under way"
    complete(store, slow)
    assert suggester.step()
    assert len(store.observations(identity)) == 4


def test_constraints_that_nothing_meets_fail_the_experiment(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    impossible = make_spec(constraints=[{"coefficients": {"l1_width": 1}, "bound": 1}])
    identity = store.create_experiment(impossible).id
    Suggester(store).step()
    view = store.experiment(identity)
    assert view.state is ExperimentState.FAILED
    assert view.reason is not None
    assert view.reason.startswith("constraints = ['l1_width <= 1']: met by none of ")


def test_an_attached_trial_gets_a_new_index(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=2)
    suggester.step()
    manual = store.attach(identity, store.observations(identity)[0].candidate.parameters)
    assert manual.index == 2
    while store.experiment(identity).state is ExperimentState.RUNNING:
        work(store, 1)
        suggester.step()
    rounds = [record.candidate.round for record in store.observations(identity)]
    assert sorted(rounds) == ["manual", *["r1"] * 4, *["r2"] * 3]


@pytest.mark.parametrize("late", ["attach", "extend"])
def test_changes_while_the_suggester_ends_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=3)
    original = store.observations

    def arrives(which: int) -> list[Any]:
        """The user's request reaches the store just after the suggester has read the trials."""
        observations = original(which)
        if len(observations) == 7 and all(item.state.finished for item in observations):
            monkeypatch.setattr(store, "observations", original)
            if late == "attach":
                store.attach(identity, observations[0].candidate.parameters)
            else:
                store.extend(identity, {"r2": 1}, None)
        return observations

    monkeypatch.setattr(store, "observations", arrives)
    while store.experiment(identity).state is ExperimentState.RUNNING:
        work(store, 3)
        suggester.step()
    states = [record.state for record in store.observations(identity)]
    assert states == [TrialState.COMPLETED] * 8


def test_an_extended_experiment_continues(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=3)
    for _ in range(2):
        while store.experiment(identity).state is ExperimentState.RUNNING:
            work(store, 3)
            suggester.step()
        if len(store.observations(identity)) == 7:
            store.extend(identity, {"r2": 2}, None)
    assert len(store.observations(identity)) == 9


def test_an_empty_space_fails_with_its_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    spec = make_spec(budgets=["size <= 1 B"], search={"max_draws": 20})
    identity = store.create_experiment(spec).id
    suggester = Suggester(store, ahead=2)
    while store.experiment(identity).state is ExperimentState.RUNNING:
        assert suggester.step()
    view = store.experiment(identity)
    assert view.state is ExperimentState.FAILED
    assert view.reason is not None
    assert "within the budgets" in view.reason
    assert +Counter(view.counts) == {TrialState.INFEASIBLE: 20}, "each of search.max_draws draws is recorded"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SpaceEmpty("nothing fits"), "nothing fits"),
        (ZeroDivisionError("their code"), "suggesting failed: ZeroDivisionError: their code"),
    ],
)
def test_a_broken_search_ends_the_experiment_and_not_the_suggester(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    store = open_store(tmp_path)
    broken = store.create_experiment(make_spec(name="broken")).id
    sound = store.create_experiment(make_spec()).id

    def build(spec: Any) -> Any:
        if spec.name == "broken":
            raise error
        return quick_search(spec)

    monkeypatch.setattr(service.suggester.suggester, "build_search", build)
    Suggester(store, ahead=2).step()
    view = store.experiment(broken)
    assert view.state is ExperimentState.FAILED
    assert view.reason is not None
    assert words in view.reason
    assert store.experiment(sound).counts[TrialState.QUEUED] == 2


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    monkeypatch.setattr(service.suggester.suggester, "RETRY_SECONDS", (0.01, 0.02))
    looks = store.active_experiments
    failures = iter([True, True, True])
    stop = threading.Event()

    def flaky() -> list[int]:
        if next(failures, False):
            raise ServerUnavailable("the database does not answer (test)")
        if store.experiment(identity).counts.get(TrialState.QUEUED):
            stop.set()
        return looks()

    monkeypatch.setattr(store, "active_experiments", flaky)
    Suggester(store, ahead=1).run(stop)
    assert store.experiment(identity).counts[TrialState.QUEUED] == 1
    assert next(failures, False) is False


def test_ending_gives_the_lease_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.create_experiment(make_spec())
    first, second = (Suggester(store, holder=name, ahead=1) for name in ("first", "second"))
    first.step()
    first.close()
    work(store, 1)
    assert second.step()
