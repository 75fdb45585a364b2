"""Waiting: for a server that is away while an experiment is followed, and for an answer that is being computed."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from service.cli.view import Progress, Snapshot
from service.cli.watching import Watcher, follow
from service.client.client import Client
from sparsemod.errors import ServerUnavailable

RUNNING = Snapshot(
    identity=3, name="digits", state="running", reason=None, rounds=[Progress("r1", 1, 4)], counts={"completed": 1},
    objectives=("error",), budgets={}, front=[], hypervolume=0.1, history=[0.1], seconds=1.0, left=None,
)  # fmt: skip
DONE = replace(RUNNING, state="done", rounds=[Progress("r1", 4, 4)])
AWAY = ServerUnavailable("no answer (test)")


class Looks(Watcher):
    """Gives one of `looks` after the other, the last one for ever; exceptions are raised."""

    def __init__(self, *looks: Snapshot | ServerUnavailable) -> None:
        self.looks, self.count = list(looks), 0

    def snapshot(self) -> Snapshot:
        self.count += 1
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, ServerUnavailable):
            raise look
        return look


def test_a_server_that_goes_away_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    tended: list[int] = []
    watcher = Looks(RUNNING, AWAY, AWAY, AWAY, DONE)
    assert follow(watcher, refresh=0.02, tend=lambda: tended.append(watcher.count)) is DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "the server is unavailable (no answer (test)); waiting for it" in line]
    assert "done" in lines[-1]
    # Processes are looked after while the server is away, too.
    assert {1, 2, 3, 4} <= set(tended)


def test_patience_ends(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(ServerUnavailable, match="no answer"):
        follow(Looks(RUNNING, AWAY), refresh=0.02, patience=0.3)
    assert 0.1 < time.monotonic() - began < 5.0
    assert "the server is unavailable" in capsys.readouterr().out


def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    watcher = Looks(AWAY)
    with pytest.raises(ServerUnavailable):
        follow(watcher, refresh=0.02)
    assert watcher.count == 1


def _client(answer: Callable[[httpx2.Request], httpx2.Response]) -> Client:
    return Client("http://localhost/", transport=httpx2.MockTransport(answer))


IMPORTANCE: dict[str, Any] = {
    "experiment": 1, "revision": 1, "current": True, "trials": 14, "metrics": {}, "accuracy": {}, "reason": "few",
}  # fmt: skip


def test_a_pending_computation_is_requested_again() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        if len(asked) < 3:
            return httpx2.Response(202, json={"computing": True}, request=request)
        return httpx2.Response(200, json=IMPORTANCE, request=request)

    with _client(answer) as client:
        assert client.importance(1).reason == "few"
    assert asked == ["/experiments/1/importance"] * 3


def test_an_answer_that_takes_too_long() -> None:
    with (
        _client(lambda request: httpx2.Response(202, json={"computing": True}, request=request)) as client,
        pytest.raises(
            ServerUnavailable, match=r"/experiments/1/importance is still being computed after 0\.3 s"
        ),
    ):
        client.importance(1, patience=0.3)
