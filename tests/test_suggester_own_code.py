"""User code is screened in a separate process: a crash costs a candidate and never the suggester."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support_store import Clock
from support_suggester import complete, make_spec, open_store, quick_search, work
from torch import nn

import service.suggester.suggester as suggester_module
from service.schemas.trials import ExperimentState
from service.schemas.workers import Claim
from service.suggester import search_process
from service.suggester.suggester import Suggester, build_search
from sparsemod.networks.family import FAMILIES, family
from sparsemod.records import DataInfo, FailureKind, TrialState
from sparsemod.sources.observation import Observation
from sparsemod.spec.experiment import ExperimentSpec

MODES = ("fine", "exit", "hang", "memory", "raise", "leave")


@pytest.fixture
def evil() -> Any:
    """A family whose networks break their process in one way each."""

    @family("evil", space={"mode": list(MODES)})
    def build(parameters: Any, data: DataInfo) -> nn.Module:
        match parameters["mode"]:
            case "exit":
                os._exit(7)
            case "hang":
                time.sleep(600)
            case "memory":
                hoard = [bytearray(b"x") * 2_500_000_000]
                time.sleep(600)
                del hoard
            case "raise":
                raise RuntimeError("no such network")
            case "leave":
                raise SystemExit("good bye")
        return nn.Sequential(nn.Flatten(), nn.Linear(64, data.classes))

    yield build
    del FAMILIES._members["evil"]


def _until_over(store: Any, suggester: Suggester, identity: int, limit: float = 120.0) -> Any:
    deadline = time.monotonic() + limit
    while store.experiment(identity).state is ExperimentState.RUNNING:
        assert time.monotonic() < deadline
        if not suggester.step():
            time.sleep(0.05)
        work(store, 1)
    return store.experiment(identity)


@pytest.mark.long
def test_candidates_that_break_their_process_are_recorded_as_invalid(
    tmp_path: Path, evil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "BUILD_SECONDS", 8.0)
    store = open_store(tmp_path)
    spec = make_spec(
        network={"family": "evil"},
        objectives=["error"],
        rounds={
            "r1": {"trials": 6, "epochs": 1},
            "r2": {"trials": 0, "epochs": 1},
            "r3": {"trials": 0, "epochs": 1},
        },
        limits={"memory": "1800 MB"},
    )
    broken = store.create_experiment(spec).id
    sound = store.create_experiment(make_spec()).id
    suggester = Suggester(store, ahead=2)
    try:
        view = _until_over(store, suggester, broken)
    finally:
        suggester.close()
    assert view.state is ExperimentState.DONE, view.reason
    found = {}
    for trial in store.trials(broken, limit=100)[0]:
        found[trial.candidate.parameters["mode"]] = trial
    assert set(found) == set(MODES)
    assert found.pop("fine").state is TrialState.COMPLETED
    words = {
        "exit": "code 7",
        "hang": "more than 8 s",
        "memory": "MB of memory",
        "raise": "no such network",
        "leave": "SystemExit: good bye",
    }
    for mode, trial in found.items():
        assert trial.state is TrialState.FAILED
        assert trial.failure.kind is FailureKind.INVALID
        assert words[mode] in trial.failure.message
    assert store.experiment(sound).counts.get(TrialState.COMPLETED, 0) > 0, "the others' search went on"


def test_a_space_that_breaks_its_process_ends_its_experiment_only(tmp_path: Path) -> None:
    @family("evil space", space=lambda data: os._exit(9))
    def build(parameters: Any, data: DataInfo) -> nn.Module:
        raise NotImplementedError

    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec(network={"family": "evil space"})).id
    suggester = Suggester(store, ahead=1)
    try:
        view = _until_over(store, suggester, identity)
    finally:
        suggester.close()
        del FAMILIES._members["evil space"]
    assert view.state is ExperimentState.FAILED
    assert "evil space" in view.reason
    assert "exited with code 9" in view.reason


def test_the_same_suggestions_as_without_a_process(tmp_path: Path) -> None:
    spec = make_spec(
        rounds={
            "r1": {"trials": 3, "epochs": 1},
            "r2": {"trials": 0, "epochs": 1},
            "r3": {"trials": 0, "epochs": 1},
        }
    )
    expected = build_search(spec).next([], 3)
    process = search_process.SearchProcess(spec, build_search)
    try:
        process.ask([], 3)
        while (answer := process.answer()) is None:
            time.sleep(0.02)
    finally:
        process.close()
    assert answer == (None, expected)
    assert not search_process.runs_user_code(spec)


class OneByOne:
    """A search that suggests one trial, and the next one when it has the result. It runs in the child."""

    def __init__(self, spec: ExperimentSpec) -> None:
        self._inner = quick_search(spec)

    def done(self, observations: Sequence[Observation]) -> str | None:
        return "three results" if sum(item.state.finished for item in observations) == 3 else None

    def next(self, observations: Sequence[Observation], count: int) -> list[Any]:
        return [] if any(item.pending for item in observations) else self._inner.next(observations, 1)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggester_module, "build_search", lambda spec, watch: OneByOne(spec))
    monkeypatch.setattr(suggester_module, "runs_user_code", lambda spec: True)


def test_results_that_arrive_while_the_process_works_are_considered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    """The answer to a request with a pending trial must not end the experiment after this trial's result."""
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    original = search_process.SearchProcess.answer
    question: list[Any] = []
    running: list[Claim] = []

    def answer(process: search_process.SearchProcess) -> Any:
        if question != [process._question]:
            question[:] = [process._question]
            while running:
                complete(store, running.pop())
            return None
        return original(process)

    monkeypatch.setattr(search_process.SearchProcess, "answer", answer)
    suggester = Suggester(store, ahead=1)
    deadline = time.monotonic() + 120
    try:
        while store.experiment(identity).state is ExperimentState.RUNNING:
            assert time.monotonic() < deadline
            if not suggester.step():
                time.sleep(0.01)
            claim = store.claim("w")
            running += [] if claim is None else [claim]
    finally:
        suggester.close()
    view = store.experiment(identity)
    assert (view.state, view.reason) == (ExperimentState.DONE, "three results")
    assert view.counts[TrialState.COMPLETED] == 3


def test_a_trial_that_is_attached_while_a_broken_search_works_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    store = open_store(tmp_path)
    identity = store.create_experiment(make_spec()).id
    values = quick_search(make_spec()).next([], 1)[0].candidate.parameters
    late = [True]

    def answer(process: search_process.SearchProcess) -> Any:
        if late:
            late.clear()
            store.attach(identity, values)
            return None
        process._question = None
        raise search_process.SearchFailed("their code")

    monkeypatch.setattr(search_process.SearchProcess, "answer", answer)
    suggester = Suggester(store, ahead=2)
    try:
        suggester.step()
        suggester.step()
        assert store.experiment(identity).state is ExperimentState.RUNNING
        suggester.step()  # the process knows the trial now
    finally:
        suggester.close()
    assert store.experiment(identity).reason == "their code"


def test_the_process_of_a_lost_lease_is_killed(tmp_path: Path, one_by_one: None) -> None:
    clock = Clock()
    store = open_store(tmp_path, clock)
    identity = store.create_experiment(make_spec()).id
    first, second = (Suggester(store, holder=name, ahead=2) for name in ("first", "second"))
    once = iter([False, True])
    stop: Any = SimpleNamespace(wait=lambda seconds: next(once))
    try:
        first.step()
        process: Any = first._leased[identity].search
        pid = process._child.pid
        clock.advance(1000)
        second.step()
        first._keep_leases(stop)
        first.step()
        assert process._child is None
        assert not Path(f"/proc/{pid}").exists()
    finally:
        first.close()
        second.close()
