"""The load test of the service: its workers notice wrong answers, and a short run states its figures."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import load_workers

sys.path.remove(str(BENCHMARKS))


class Answers:
    """A server that gives the listed bodies to reports, and trial 0, 1, ... to claims."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Any]] = []
        self.seen: list[tuple[str, Any]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                length = 0
                while header := stream.readline().strip():
                    if header.startswith(b"content-length:"):
                        length = int(header.partition(b":")[2])
                path, body = line.split()[1].decode(), stream.read(length)
                status, answer = self._answer(path, body)
                content = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode()
                connection.sendall(head + content[:5])  # an answer may come in pieces
                connection.sendall(content[5:])

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path.startswith("/artifacts/"):
            return 200, {}
        report = json.loads(body)
        self.seen.append((path, report))
        if path == "/claims":
            return 200, claim(0)
        return self.reports.pop(0)


def claim(number: int) -> dict[str, Any]:
    return {"attempt": number + 1, "token": f"{number:032d}", "experiment": 1, "trial": number}


def outcome(trial: int, following: int | None) -> dict[str, Any]:
    following_claim = None if following is None else claim(following)
    return {"experiment": 1, "trial": trial, "state": "completed", "next": following_claim}


@pytest.fixture
def server() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


def test_a_worker_reports_with_the_token_of_its_claim(server: Answers) -> None:
    swarm = load_workers.Swarm(server.port, 1, "secret")
    server.reports = [(200, outcome(0, 1)), (503, {}), (200, outcome(1, 2))]
    done = swarm.work(0.4, rate=4.0)
    swarm.close()
    assert (done.claims, done.repeated, done.attempts) == (2, 1, {1, 2, 3}) and not server.reports
    first, second, again = (one for one in server.seen if one[0] != "/claims")
    assert first[0] == "/attempts/1/finish" and first[1]["token"] == claim(0)["token"]
    assert second[0] == "/attempts/2/finish" and second == again
    asked = {report["next"]["request"] for _, report in (first, second)}
    assert len(asked) == 2 and len(first[1]["result"]["measurements"]) == 11


@pytest.mark.parametrize(
    "answer",
    [
        (200, outcome(0, 0)),  # the same trial again
        (200, outcome(7, 1)),  # another trial than the reported one
        (200, outcome(0, None)),
        (200, {**outcome(0, 1), "state": "queued"}),
        (409, {"error": "stale"}),
    ],
)
def test_a_wrong_answer_ends_the_run(server: Answers, answer: tuple[int, Any]) -> None:
    swarm = load_workers.Swarm(server.port, 1)
    server.reports = [answer]
    with pytest.raises(RuntimeError):
        swarm.work(0.2, rate=5.0)
    swarm.close()


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_short_run(database: str) -> None:
    """The database holds what was answered, else the run fails. The figures of so short a run say nothing."""
    words = [
        sys.executable, str(BENCHMARKS / "service_load.py"), "--database", database, "--trials", "30", "--workers", "10",
        "--seconds", "1", "--rate", "20", "--logins",
    ]  # fmt: skip
    ran = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=300, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    cells = [cell.strip() for cell in ran.stdout.splitlines()[-1].strip("|").split("|")]
    assert cells[:2] == [database, "30"] and float(cells[2]) > 0 and len(cells) == 10
