"""Clients that send too much, too slowly, or do not read: they cost the server little, and the others nothing."""

import asyncio
import contextlib
import csv
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from support_auth import open_app, store_of
from support_store import SPEC, completed, fill

from service.http import connections, limits
from service.http.app import create_app
from service.http.connections import TimedProtocol
from service.processes.supervisor import free_port
from service.settings import Settings
from service.store.tables import curve_points
from sparsemod.records import Candidate, Failure, FailureKind, TrialRecord, TrialState
from sparsemod.report.results import trials_csv

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
    limit = time.monotonic() + 100
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
            begin = time.process_time()
            answer = http.post(path, json={"spec": spec})
            assert time.process_time() - begin < 5
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
    from service.http.routes import experiments as routes

    seen: list[str] = []
    original = routes.ExperimentSpec.parse

    def parse(*arguments: Any, **options: Any) -> Any:
        try:
            asyncio.get_running_loop()
            seen.append("loop")
        except RuntimeError:
            seen.append("thread")
        return original(*arguments, **options)

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
        with contextlib.suppress(ConnectionError):  # the server may close before the last byte
            for _ in range(3):  # a byte now and then does not help
                time.sleep(0.1)
                if sent:
                    connection.sendall(b"x")
            read_all(connection)
        assert time.monotonic() - begin < 100


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


def test_an_unread_response_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        limit = time.monotonic() + 100
        while not gone and time.monotonic() < limit:
            time.sleep(0.05)
    server.should_exit = True
    thread.join(timeout=20)
    assert gone


def test_a_table_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.http.routes import trials as routes

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


def test_an_upload_that_breaks_off_leaves_neither_a_traceback_nor_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head = f"PUT /artifacts/sha256:{'0' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with listening(tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + b"x" * 100)
            time.sleep(0.3)
        limit = time.monotonic() + 100
        shown = ""
        while "client disconnected" not in shown and time.monotonic() < limit:
            time.sleep(0.05)
            found = capfd.readouterr()
            shown += found.out + found.err
    assert "client disconnected" in shown and "Traceback" not in shown
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


def test_an_epoch_that_no_training_reaches_is_refused(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, 1)
        claim = store.claim("w")
        assert claim is not None
        good = {"epoch": 1, "train_loss": 1, "validation_loss": 1, "validation_error": 1, "learning_rate": 1}
        path = f"/attempts/{claim.attempt}/points"
        assert http.post(path, json={"token": claim.token, "points": [good]}).status_code == 200
        bad = http.post(path, json={"token": claim.token, "points": [{**good, "epoch": 2**40}]})
        assert bad.status_code == 422 and bad.json()["error"]["field"] == "points.0.epoch"
        with store.engine.begin() as connection:  # as an earlier version stored it
            connection.execute(
                sa.insert(curve_points),
                {**good, "attempt_id": claim.attempt, "epoch": 2**40, "sparsity": 0.0, "seconds": 0.0},
            )
        curve = http.get(f"/experiments/{made}/trials/0/curve")
        assert curve.status_code == 200 and [point["epoch"] for point in curve.json()] == [1]


def test_text_in_a_table_is_not_a_formula() -> None:
    parameters = {"=cmd": "=1+1", "width": -3, "kind": "@x"}
    candidate = Candidate(parameters=parameters, origin="manual", round="manual")
    row = TrialRecord(
        index=0,
        candidate=candidate,
        state=TrialState.FAILED,
        epochs=1,
        seed=0,
        failure=Failure(kind=FailureKind.FAULT, message="-2+3|calc"),
    )
    (found,) = csv.DictReader(io.StringIO(trials_csv([row])))
    assert (found["'=cmd"], found["width"], found["kind"], found["failure"]) == (
        "'=1+1",
        "-3",
        "'@x",
        "'-2+3|calc",
    )


def test_a_line_of_the_log_has_a_date(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    from service.cli.logs import configure_logs

    before = structlog.get_config()
    try:
        configure_logs()
        structlog.get_logger("x").info("hello")
    finally:
        structlog.configure(**before)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", capsys.readouterr().err)
