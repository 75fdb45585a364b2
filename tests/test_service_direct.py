"""The short way of workers' frequent requests: who takes it, and that its answers are those of the usual way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of, tokens
from support_store import fill, spec

from service.http.pools import Turns
from service.schemas.logins import Scope
from service.store import Store
from service.store import logins as logins_module

USUAL = {"content-type": "application/json; charset=utf-8"}
"""A content type that takes the usual way."""


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that took the usual way."""
    paths: list[str] = []
    before = Turns.__call__

    async def call(self: Turns, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            paths.append(scope["path"])
        await before(self, scope, receive, send)

    monkeypatch.setattr(Turns, "__call__", call)
    return paths


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    """A server without logins and an experiment with twenty queued trials."""
    with open_app(tmp_path) as client:
        store = store_of(client)
        fill(store, store.create_experiment(spec()).id, 20)
        yield client


def claimed(http: TestClient, **headers: str) -> dict[str, Any]:
    answer = http.post("/claims", json={"worker": "w"}, headers=headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_the_frequent_requests_take_the_short_way(http: TestClient, usual: list[str]) -> None:
    claim = claimed(http)
    path, token = f"/attempts/{claim['attempt']}", claim["token"]
    assert http.post(f"{path}/heartbeat", json={"token": token}).json()["stop"] is False
    assert http.post(f"{path}/points", json={"token": token, "points": []}).status_code == 200
    result = {"state": "failed", "failure": {"kind": "invalid", "message": "no"}}
    finish = {"token": token, "result": result, "next": {"worker": "w"}}
    answer = http.post(f"{path}/finish", json=finish)
    assert answer.json()["state"] == "failed" and answer.json()["next"]["trial"] == claim["trial"] + 1
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    assert usual == []
    metrics = http.get("/metrics").text
    assert "sparsemod_claims_total 2.0" in metrics
    assert (
        'sparsemod_requests_total{method="POST",path="/attempts/{attempt}/finish",status="200"} 1.0'
        in metrics
    )


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"headers": USUAL}, None),
        ({"params": {"x": "1"}}, None),
        ({}, b'{"worker": ""}'),
        ({}, b'{"worker": "w", "log": 1}'),
        ({}, b"{"),
        ({}, b'{"worker": "' + b"w" * 100_000 + b'"}'),
    ],
)
def test_unusual_requests_take_the_usual_way(
    http: TestClient, usual: list[str], change: dict[str, Any], body: bytes | None
) -> None:
    headers = {"content-type": "application/json", **change.pop("headers", {})}
    answer = http.post("/claims", content=body or b'{"worker": "w"}', headers=headers, **change)
    assert answer.status_code == (
        200 if change == {} and body is None else 413 if body and len(body) > 999 else 422
    )
    assert usual == ["/claims"]


def test_the_size_limit_of_reports_holds_on_both_ways(tmp_path: Path) -> None:
    with open_app(tmp_path, max_request_bytes=1024) as client:
        report = {"token": "t", "points": [], "log": [{"time": 1.0, "level": "info", "message": "m" * 1100}]}
        short, usual = answers(client, "/attempts/1/points", report)
    assert short == usual and short[0] == 413


def answers(http: TestClient, path: str, body: Any, **headers: str) -> tuple[Any, Any]:
    """The answers of the short way and of the usual one."""

    def told(answer: httpx2.Response) -> Any:
        names = ("www-authenticate", "retry-after", "connection")
        return answer.status_code, answer.json(), {name: answer.headers.get(name) for name in names}

    short = http.post(path, json=body, headers=headers)
    return told(short), told(http.post(path, json=body, headers={**headers, **USUAL}))


def test_errors_are_the_same_on_both_ways(http: TestClient) -> None:
    claim = claimed(http)
    path = f"/attempts/{claim['attempt']}"
    wrong = {"token": claim["token"], "result": {"state": "completed"}}
    for status, place, body in (
        (409, f"{path}/heartbeat", {"token": "stale"}),
        (404, "/attempts/999/heartbeat", {"token": "t"}),
        (404, "/attempts/007/heartbeat", {"token": "t"}),
        (422, f"{path}/finish", wrong),
        (404, f"{path}/nothing", {}),
    ):
        short, usual = answers(http, place, body)
        assert short == usual and short[0] == status, place
    short, usual = answers(http, f"{path}/heartbeat", {"token": "t"}, origin="https://evil.example")
    assert short == usual and short[0] == 403


def test_authorization_is_the_same_on_both_ways(http: TestClient) -> None:
    secrets = tokens(store_of(http))
    other, _ = store_of(http).create_token("another", [Scope.WORKER])
    claim = claimed(http, **bearer(secrets[Scope.WORKER]))
    path, body = f"/attempts/{claim['attempt']}/heartbeat", {"token": claim["token"]}
    for status, secret in ((401, None), (401, "sm_guess"), (403, secrets[Scope.READ]), (403, other)):
        short, usual = answers(http, path, body, **({} if secret is None else bearer(secret)))
        assert short == usual and short[0] == status, secret
    assert answers(http, path, body, **bearer(secrets[Scope.WORKER]))[0][0] == 200


def test_a_request_is_authorized_before_its_body_is_parsed(http: TestClient) -> None:
    tokens(store_of(http))
    refused = http.post("/claims", content=b"{", headers={"content-type": "application/json"})
    assert refused.status_code == 401


def test_an_error_of_the_server_says_nothing_of_its_inside(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "heartbeat", lambda *_: 1 / 0)
    short, usual = answers(http, "/attempts/1/heartbeat", {"token": "t"})
    assert short == usual and short[0] == 500 and "division" not in str(short)


def test_the_first_token_of_another_process_counts_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(logins_module.time, "monotonic", lambda: now[0])
    one, other = (Store.open(f"sqlite:///{tmp_path / 'store.db'}") for _ in range(2))
    assert not one.closed()
    other.create_token("ada", [Scope.ADMIN])
    assert other.closed(), "its own token counts at once"
    assert not one.closed()
    now[0] += logins_module.OPEN_SECONDS
    assert one.closed()
    for store in (one, other):
        store.close()
