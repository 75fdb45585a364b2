"""The worker's loop: slots, draining, ending when idle, a server that starts late, a missing GPU."""

import fcntl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support_worker import MemoryServer, make_claim

from service.client.backoff import Backoff
from service.errors import LoginNeeded, ServerError
from service.worker.attempt_settings import FILES, WHOLE
from service.worker.worker import DENIALS, Worker, WorkerSettings
from sparsemod.errors import InvalidInput, ServerUnavailable, SparsemodError
from sparsemod.records import FailureKind, TrialState


def settings(tmp_path: Path, **changes: Any) -> WorkerSettings:
    return WorkerSettings(
        evaluate="support_worker:behave",
        preload=("support_worker",),
        directory=tmp_path,
        stop_grace=2.0,
        **changes,
    )


def in_thread(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


def until(condition: Any, seconds: float = 100.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.01)


def test_slots_share_the_queue_and_each_trial_is_done_once(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(n) for n in range(1, 8)])
    assert Worker(server, settings(tmp_path, slots=3, until_idle=0.3)).run() == 7
    assert sorted(server.results) == list(range(1, 8))
    assert all(len(server.curve[n]) == 3 for n in server.results)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_folders_of_killed_workers_are_removed(tmp_path: Path) -> None:
    alive, killed, older = (tmp_path / f"sparsemod-worker-{name}" for name in ("alive", "killed", "older"))
    for folder in (alive, killed, older):
        folder.mkdir()
        (folder / "downloads").mkdir()
    (killed / "lock").touch()
    (tmp_path / "sparsemod-worker").mkdir()
    with (alive / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert Worker(MemoryServer(claims=[make_claim(1)]), settings(tmp_path, once=True)).run() == 1
    # A folder without a lock file stays: its worker may be about to lock it.
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, older.name, "sparsemod-worker"}


def test_once_ends_after_one_trial(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1), make_claim(2)])
    assert Worker(server, settings(tmp_path, once=True)).run() == 1
    assert list(server.results) == [1]
    assert len(server.claims) == 1


def test_draining_finishes_running_trials(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1, behaviour="slow"), make_claim(2)])
    worker = Worker(server, settings(tmp_path))
    thread = in_thread(worker)
    until(lambda: server.curve.get(1))
    worker.drain()
    thread.join(timeout=20)
    assert server.results[1].state is TrialState.COMPLETED
    assert list(server.results) == [1]


def test_a_drain_releases_trials_that_take_too_long(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1, behaviour="endless")])
    worker = Worker(server, settings(tmp_path, drain_seconds=0.2))
    thread = in_thread(worker)
    until(lambda: server.curve.get(1))
    worker.drain()
    thread.join(timeout=20)
    failure = server.results[1].failure
    assert failure is not None
    assert failure.detail == "released"
    assert worker.finished == 0


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1)], away=True)
    worker = Worker(server, settings(tmp_path, once=True))
    thread = in_thread(worker)
    time.sleep(0.3)
    server.away = False
    thread.join(timeout=20)
    assert server.results[1].state is TrialState.COMPLETED


@pytest.mark.slow
@pytest.mark.parametrize(
    "bad",
    [
        ServerError("POST /claims: 500, and no answer of ours"),
        ServerUnavailable("429"),
        InvalidInput("worker", "x", "something else"),
        SparsemodError("teapot"),
        LoginNeeded("no token"),
        ValueError("not JSON"),
        RuntimeError("anything"),
    ],
)
def test_no_single_bad_answer_ends_a_worker(tmp_path: Path, bad: Exception) -> None:
    server = MemoryServer(claims=[make_claim(1)], bad_claims=[bad])
    assert Worker(server, settings(tmp_path, once=True)).run() == 1
    assert server.started == [True, True], "what the server did not answer, it may not have heard"


def test_a_token_that_is_refused_again_and_again_ends_a_worker(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1)], bad_claims=[LoginNeeded("no token")] * DENIALS)
    with pytest.raises(LoginNeeded):
        Worker(server, settings(tmp_path)).run()
    assert server.claims, "it has claimed nothing"


def test_a_worker_that_could_not_ask_does_not_end_as_one_without_work(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="away"):
        Worker(MemoryServer(away=True), settings(tmp_path, until_idle=0.2)).run()


def test_pauses_grow_and_differ() -> None:
    backoff = Backoff(1.0, 8.0)
    pauses = [backoff.pause() for _ in range(6)]
    for pause, step in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert step / 2 <= pause <= step
    assert len(set(pauses)) == 6
    backoff.reset()
    assert backoff.pause() <= 1.0
    Backoff(0.001, 0.001).wait(lambda: False)
    answers = iter([False, True])
    Backoff(10_000, 10_000).wait(lambda: next(answers))  # would last for hours
    assert next(answers, None) is None


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    worker = Worker(MemoryServer(), settings(tmp_path, gpu=93))
    with pytest.raises(InvalidInput, match="gpu = 93: a CUDA device that torch can use"):
        worker.run()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slots": 0}, "slots"),
        ({"gpu": -1}, "gpu"),
        ({"until_idle": -1.0}, "until_idle"),
        ({"drain_seconds": -1.0}, "drain_seconds"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        settings(tmp_path, **changes)


def test_parent_weights_are_fetched_once_by_digest(tmp_path: Path) -> None:
    server = MemoryServer()
    digest = server.upload(b"parent's weights")
    claims = [
        make_claim(n, parent={"index": 0, "parameters": {}, "epochs": 3, "artifacts": [
            {"kind": "weights", "digest": digest, "size": 16, "name": "weights.safetensors"}]}) for n in (1, 2)
    ]  # fmt: skip
    server.claims = list(claims)
    downloads: list[str] = []
    fetch = server.download
    server.download = lambda digest, path: (downloads.append(digest), fetch(digest, path))[1]  # type: ignore[method-assign]
    assert Worker(server, settings(tmp_path, until_idle=0.2)).run() == 2
    assert downloads == [digest]


def test_a_parent_that_is_gone_gives_the_trial_back(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    parent = {"index": 0, "parameters": {}, "epochs": 3, "artifacts": [
        {"kind": "weights", "digest": digest, "size": 16, "name": "weights.safetensors"}]}  # fmt: skip
    server = MemoryServer(claims=[make_claim(1, parent=parent)])
    assert Worker(server, settings(tmp_path, once=True)).run() == 0
    failure = server.results[1].failure
    assert failure is not None
    assert "could not fetch the trial's input files" in failure.message
    assert (failure.kind, failure.detail) == (FailureKind.ENVIRONMENT, FILES)


@pytest.mark.parametrize(("behaviour", "detail"), [("full", WHOLE), ("no data", "")])
def test_a_missing_resource_releases_the_trial(tmp_path: Path, behaviour: str, detail: str) -> None:
    server = MemoryServer(claims=[make_claim(1, behaviour=behaviour)])
    assert Worker(server, settings(tmp_path, once=True)).run() == 0
    failure = server.results[1].failure
    assert failure is not None
    assert (failure.kind, failure.detail) == (FailureKind.ENVIRONMENT, detail)


def test_a_fork_server_that_does_not_start_is_the_machines_failure(tmp_path: Path) -> None:
    server = MemoryServer(claims=[make_claim(1)])
    broken = WorkerSettings(preload=("no_such_module",), directory=tmp_path, once=True)
    assert Worker(server, broken).run() == 0
    failure = server.results[1].failure
    assert failure is not None
    assert (failure.kind, failure.detail) == (FailureKind.ENVIRONMENT, WHOLE)
    assert "the process that forks trials" in failure.message
