"""Retries of the service's own processes: they end at an answer, at a stop request, or at their time limit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

import service.store
from service.client.client import Client
from service.processes.supervisor import Supervisor, free_port, wait_until_ready
from service.settings import Settings
from sparsemod.errors import InvalidInput, ServerUnavailable


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(service.store, "RETRY_SECONDS", (0.001, 0.002))
    with stamina.set_testing(True, attempts=100):  # without pauses
        yield


class Tended(Supervisor):
    """Counts the calls of `tend`."""

    def __init__(self) -> None:
        super().__init__([])
        self.tended = 0

    def tend(self) -> None:
        self.tended += 1


def test_a_database_is_waited_for_until_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [ServerUnavailable("away"), ServerUnavailable("away")]
    opened = service.store.open_store

    def flaky(settings: Settings) -> Any:
        if errors:
            raise errors.pop()
        return opened(settings)

    monkeypatch.setattr(service.store, "open_store", flaky)
    store = service.store.open_patiently(Settings(data_dir=tmp_path), lambda: False)
    assert store is not None and not errors
    store.close()
    errors.extend([ServerUnavailable("away")] * 100)
    assert service.store.open_patiently(Settings(data_dir=tmp_path), lambda: len(errors) < 98) is None
    assert len(errors) == 97
    errors.append(InvalidInput("database", "x", "a URL"))
    with pytest.raises(InvalidInput):
        service.store.open_patiently(Settings(data_dir=tmp_path), lambda: False)


def test_a_server_is_waited_for_while_its_processes_are_tended(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ServerUnavailable("starting"), ServerUnavailable("starting"), None])

    def health(client: Client) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    monkeypatch.setattr(Client, "health", health)
    supervisor = Tended()
    wait_until_ready("http://127.0.0.1:1", supervisor)
    assert supervisor.tended == 3 and next(answers, "none left") == "none left"
    monkeypatch.undo()
    supervisor = Tended()
    with stamina.set_testing(False), pytest.raises(ServerUnavailable):
        wait_until_ready(f"http://127.0.0.1:{free_port()}", supervisor, 0.05)
    assert supervisor.tended >= 1
