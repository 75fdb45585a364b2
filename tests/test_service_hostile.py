"""Clients that send too much, too slowly, or do not read: they cost the server little, and the others nothing."""

import asyncio
import csv
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support_auth import open_app, store_of
from support_store import SPEC, completed, fill

from service import connections, limits
from service.app import create_app
from service.connections import TimedProtocol
from service.settings import Settings
from service.supervisor import free_port

BIG: dict[str, Any] = {
    "unknown keys": {**SPEC, **{f"k{i}": 1 for i in range(50_000)}},
    "many objectives": {**SPEC, "objectives": ["error"] * 50_000},
    "many wrong options": {
        **SPEC,
        "network": {"family": "mlp", "options": {f"k{i}": [1] for i in range(50_000)}},
    },
}


@contextmanager
def listening(folder: Path, **settings: Any) -> Iterator[int]:
    """A server with the protocol of `serve`; its port."""
    port = free_port()
    app = create_app(Settings(data_dir=folder, **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", http=TimedProtocol))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < limit
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(timeout=20)


@pytest.mark.parametrize("spec", BIG.values(), ids=BIG)
def test_a_spec_with_too_many_values_is_refused_before_it_is_validated(tmp_path: Path, spec: Any) -> None:
    with open_app(tmp_path) as http:
        for path in ("/experiments", "/experiments/check"):
            begin = time.monotonic()
            answer = http.post(path, json={"spec": spec})
            assert time.monotonic() - begin < 5
            assert answer.status_code == 422 and "10,000 values" in answer.json()["error"]["message"]


def test_a_large_spec_is_not_read(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        body = json.dumps({"spec": {**SPEC, "name": "x" * 6_000_000}})
        for path in ("/experiments", "/experiments/check", "/experiments/1/mend"):
            answer = http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 413 and "1000000 bytes" in answer.json()["error"]["message"], path


def test_other_bodies_are_small(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        body = {f"k{i}": 1 for i in range(20_000)}
        for path in (
            "/login",
            "/claims",
            f"/experiments/{made}/extend",
            f"/experiments/{made}/trials",
            "/attempts/1/heartbeat",
            "/workers/w/drain",
        ):
            assert http.post(path, json=body).status_code == 413, path
        # A worker's report may be long.
        report = {"token": "t", "log": [{"time": 1.0, "level": "info", "message": "x" * 100}] * 1000}
        assert http.post("/attempts/1/points", json=report).status_code == 404


def test_validating_a_spec_does_not_hold_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.routes import experiments as routes

    seen: list[str] = []
    original = routes.ExperimentSpec.parse

    def parse(data: Any, source: str | None = None) -> Any:
        try:
            asyncio.get_running_loop()
            seen.append("loop")
        except RuntimeError:
            seen.append("thread")
        return original(data, source)

    monkeypatch.setattr(routes.ExperimentSpec, "parse", parse)
    with open_app(tmp_path) as http:
        assert http.post("/experiments", json={"spec": SPEC}).status_code == 201
    assert seen and set(seen) == {"thread"}


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Half: ", b"GE"])
def test_half_a_head_ends_with_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    with listening(tmp_path) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        begin = time.monotonic()
        connection.sendall(sent)
        for _ in range(3):  # a byte now and then does not help
            time.sleep(0.1)
            if sent:
                connection.sendall(b"x")
        read_all(connection)
        assert time.monotonic() - begin < 20


def test_a_second_half_head_ends_too_and_whole_requests_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(tmp_path) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(4):
            connection.sendall(whole)
            time.sleep(0.2)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert read_all(connection).count(b"200 OK") == 4


def test_a_body_that_stops_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SILENT_SECONDS", 0.3)
    head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    with listening(tmp_path) as port:
        for path in ("/experiments", "/login", "/claims"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head.format(path).encode())
                answer = read_all(connection)
            assert b" 408 " in answer.splitlines()[0] and b"TooSlow" in answer, path


def test_an_answer_that_nobody_reads_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.3)
    gone: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        finally:
            gone.append(time.monotonic())

    port = free_port()
    limited = limits.BodyLimit(app, 1000, 1000)
    server = uvicorn.Server(uvicorn.Config(limited, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        limit = time.monotonic() + 20
        while not gone and time.monotonic() < limit:
            time.sleep(0.05)
    server.should_exit = True
    thread.join(timeout=20)
    assert gone


def test_a_table_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.routes import trials as routes

    monkeypatch.setattr(routes, "CSV_TRIALS", 3)
    with open_app(tmp_path) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, 8)
        for number in range(5):
            claim = store.claim(f"w{number}")
            assert claim is not None
            store.finish(claim.attempt, claim.token, completed(0.1 * number + 0.1, 400.0))
        original, sizes = store.trials_at, []
        monkeypatch.setattr(store, "trials_at", lambda e, i: (sizes.append(len(i)), original(e, i))[1])
        answer = http.get(f"/experiments/{made}/trials?format=csv&sort=error&order=desc")
        assert answer.headers["content-type"].startswith("text/csv") and sizes == [3, 3, 2]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["trial"] for row in rows] == ["4", "3", "2", "1", "0", "5", "6", "7"]
        assert rows[0]["error [fraction]"] == "0.5" and rows[5]["error [fraction]"] == ""
        assert [row["width"] for row in rows][:2] == ["4", "3"]
        front = list(csv.DictReader(io.StringIO(http.get(f"/pareto/{made}?format=csv").text)))
        assert [row["trial"] for row in front] == ["0"]


def test_exports_are_read_page_by_page(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, 12)
        http.app.state.exports.close()
        store.queue_exports(made, [1, 4, 5, 9], ["c", "onnx"], "stm32f446")
        path = f"/experiments/{made}/exports"
        assert [item["trial"] for item in http.get(path).json()] == [1, 1, 4, 4, 5, 5, 9, 9]
        assert [item["trial"] for item in http.get(f"{path}?limit=2").json()] == [1, 1, 4, 4]
        assert [item["trial"] for item in http.get(f"{path}?limit=2&after=4").json()] == [5, 5, 9, 9]
        assert http.get(f"{path}?after=9").json() == []
