"""The short way of workers' frequent requests: who takes it, and that its answers are those of the usual way."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
import structlog
from fastapi import APIRouter, Header
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of, tokens
from support_store import completed, fill, spec

from service.http import direct
from service.http.pools import Turns
from service.schemas.logins import Scope
from service.schemas.workers import Fence
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
        ({"content": [b'{"worker": ', b'"w"}']}, None),
        ({}, b'{"worker": "' + b"w" * 100_000 + b'"}'),
    ],
)
def test_unusual_requests_take_the_usual_way(
    http: TestClient, usual: list[str], change: dict[str, Any], body: bytes | None
) -> None:
    headers = {"content-type": "application/json", **change.pop("headers", {})}
    allowed = body is None and "params" not in change
    answer = http.post("/claims", **{"content": body or b'{"worker": "w"}', "headers": headers, **change})
    assert answer.status_code == (200 if allowed else 413 if body and len(body) > 999 else 422)
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
        return answer.status_code, answer.text, {name: answer.headers.get(name) for name in names}

    short = http.post(path, json=body, headers=headers)
    return told(short), told(http.post(path, json=body, headers={**headers, **USUAL}))


def test_an_answer_without_a_body_is_the_same_on_both_ways(http: TestClient) -> None:
    assert http.post("/experiments/1/stop").status_code == 200
    short, usual = (http.post("/claims", json={"worker": "w"}, headers=kind) for kind in ({}, USUAL))
    for answer in (short, usual):
        del answer.headers["x-request-id"]
    assert short.status_code == 204 and short.headers == usual.headers == {}


@pytest.mark.parametrize("late", [False, True])
def test_a_body_that_comes_in_pieces_or_late_takes_the_usual_way(
    http: TestClient, usual: list[str], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(direct, "PATIENCE_SECONDS", 0.01 if late else 600.0)
    parts = [b'{"worker": "w"}', b""] if late else [b'{"worker"', b': "w"}']
    messages = [{"type": "http.request", "body": part, "more_body": part == parts[0]} for part in parts]
    sent: list[Any] = []

    async def receive() -> Any:
        while late and not usual:
            await asyncio.sleep(0.001)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/lab/claims", "raw_path": b"/lab/claims", "root_path": "/lab",
        "query_string": b"", "client": None, "server": None, "scheme": "http", "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"15")],
    }  # fmt: skip
    asyncio.run(http.app(scope, receive, send))
    assert sent[0]["status"] == 200 and usual == ["/lab/claims"] and not messages


def test_the_short_way_works_behind_a_proxy(http: TestClient, usual: list[str]) -> None:
    behind = TestClient(http.app, root_path="/lab")
    answer = behind.post("/lab/claims", json={"worker": "w"})
    assert answer.status_code == 200 and usual == []


def test_other_parameters_take_the_usual_way() -> None:
    router = APIRouter()

    @router.post("/claims")
    def plain(store: Any, body: Fence) -> None: ...

    @router.post("/claims/more")
    def more(body: Fence, extra: Annotated[str, Header()]) -> None: ...

    found = [direct.plan_of(route) for route in router.routes if isinstance(route, APIRoute)]
    assert [plan is None for plan in found] == [False, True]


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


def test_the_access_log_is_the_same_on_both_ways(tmp_path: Path) -> None:
    with open_app(tmp_path, access_log=True) as client:
        login = bearer(tokens(store_of(client))[Scope.WORKER])
        with structlog.testing.capture_logs() as lines:
            answers(client, "/attempts/7/heartbeat", {"token": "t"}, **login)
            answers(client, "/claims", {"worker": "w"}, **login)
    shown = [{name: value for name, value in line.items() if name != "ms"} for line in lines]
    assert shown[0] == shown[1] and shown[2] == shown[3]
    assert (shown[0]["attempt"], shown[0]["owner"], shown[0]["status"]) == (7, "workerer", 404)


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


def reports(http: TestClient, count: int, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """Paths and bodies of `count` reports, each of another worker."""
    made = []
    for number in range(count):
        claim = http.post("/claims", json={"worker": f"w{number}"}, headers=headers).json()
        result = completed().model_dump(mode="json")
        body = {"token": claim["token"], "result": result, "next": {"worker": f"w{number}"}}
        made.append((f"/attempts/{claim['attempt']}/finish", body))
    return made


async def at_once(http: TestClient, asked: list[tuple[str, dict[str, Any], dict[str, str]]]) -> list[Any]:
    """Send all requests before the first one is answered; return status and body of each."""

    async def one(path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        content, sent = json.dumps(body).encode(), list[Any]()
        given = {
            "host": "localhost",
            "content-type": "application/json",
            "content-length": str(len(content)),
            **headers,
        }
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": b"", "client": None, "server": None, "scheme": "http", "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        await http.app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    return await asyncio.gather(*(one(*each) for each in asked))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of reports that reached the store together."""
    sizes: list[int] = []
    before = Store.finish_and_claim_all

    def finish_all(self: Store, reports: Any) -> Any:
        sizes.append(len(reports))
        return before(self, reports)

    monkeypatch.setattr(Store, "finish_and_claim_all", finish_all)
    return sizes


def test_reports_that_wait_share_a_transaction(http: TestClient, groups: list[int]) -> None:
    made = reports(http, 6)
    answers = asyncio.run(at_once(http, [(path, body, {}) for path, body in made]))
    assert [status for status, _ in answers] == [200] * 6 and sum(groups) == 6
    assert groups[0] > 1  # all had arrived before the first call in a thread began
    bodies = [json.loads(body) for _, body in answers]
    assert [body["trial"] for body in bodies] == list(range(6))
    assert sorted(body["next"]["trial"] for body in bodies) == list(range(6, 12))
    assert "sparsemod_claims_total 12.0" in http.get("/metrics").text


def test_each_report_of_a_group_is_admitted_and_checked_by_itself(
    http: TestClient, groups: list[int]
) -> None:
    found = tokens(store_of(http))
    mine = bearer(found[Scope.WORKER])
    made = reports(http, 5, **mine)
    huge = "/attempts/" + "9" * 30 + "/finish"
    other, _ = store_of(http).create_token("other", [Scope.WORKER])
    broken = {**made[3][1], "result": {"state": "completed", "measurements": []}}
    asked = [
        (*made[0], mine),
        (*made[1], {}),
        (made[2][0], made[2][1], bearer(other)),
        (made[3][0], broken, mine),
        (huge, made[0][1], mine),
        (made[0][0], {"token": "x"}, mine),
        (*made[4], mine),
        (*made[1], bearer(found[Scope.READ])),
    ]
    answers = asyncio.run(at_once(http, asked))
    assert [status for status, _ in answers] == [200, 401, 403, 422, 404, 422, 200, 403]
    assert b"result.measurements" in answers[3][1] and b"claimed with another token" in answers[2][1]
    assert [json.loads(answers[place][1])["next"]["trial"] for place in (0, 6)] == [5, 6]
    assert sum(groups) == 3


def test_a_revoked_token_is_refused_in_the_next_group(http: TestClient) -> None:
    store = store_of(http)
    secret, view = store.create_token("w", [Scope.WORKER])
    made = reports(http, 2, **bearer(secret))
    (first,) = asyncio.run(at_once(http, [(*made[0], bearer(secret))]))
    store.revoke_token(view.token)
    (second,) = asyncio.run(at_once(http, [(*made[1], bearer(secret))]))
    assert (first[0], second[0]) == (200, 401)
