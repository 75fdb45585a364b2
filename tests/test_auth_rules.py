"""Every route with every scope: which requests pass, and that no route is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of, tokens
from support_store import SPEC, fill

from service.http import auth
from service.http.app import PARTS
from service.schemas.logins import Scope

DIGEST = "sha256:" + "0" * 64
ROUTES = sorted(
    {
        (method, route.path_format)
        for part in PARTS
        for route in part.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
)


def address(path: str) -> str:
    """The path of a missing object: an authorized request gets 404, 409 or 422."""
    values = {"experiment": "7777", "index": "0", "attempt": "7777", "digest": DIGEST, "name": "nobody"}
    values |= {"model": "7777", "webhook": "7777"}
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path
    return path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[Scope, str]]]:
    with open_app(tmp_path_factory.mktemp("closed")) as http:
        yield http, tokens(store_of(http))


def ask(http: TestClient, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request; of a stream, of its beginning."""
    body: dict[str, Any] = {"json": {}} if method in ("POST", "PUT", "DELETE") else {}
    if path == "/stream":  # never ends: that it is let through is seen elsewhere
        return http.post(path, headers=headers).status_code
    return http.request(method, address(path), headers=headers, **body).status_code


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert {f"{method} {path}" for method, path in ROUTES} == set(auth.RULES)


def test_only_owners_change_experiments_and_attempts_and_see_webhooks() -> None:
    for line, rule in auth.RULES.items():
        method, _, path = line.partition(" ")
        changed = "{experiment}" in path or line == "DELETE /models/{model}"
        owned = "{webhook}" in path or (changed and method not in auth.SAFE)
        assert rule.owned == owned and rule.bound == ("{attempt}" in path), line


def test_a_server_with_a_route_without_a_rule_does_not_start() -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(auth.MissingRule, match="GET /forgotten"):
        auth.rules_of(router)


def test_a_route_that_was_added_past_the_guard_is_refused(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:

        @http.app.get("/past")  # type: ignore[attr-defined]
        def past() -> str:
            return "secret"

        answer = http.get("/past")
        assert answer.status_code == 403 and "secret" not in answer.text


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{m} {p}" for m, p in ROUTES])
def test_every_route_with_every_scope(
    closed: tuple[TestClient, dict[Scope, str]], method: str, path: str
) -> None:
    http, secrets = closed
    rule = auth.RULES[f"{method} {path}"]
    http.cookies.clear()
    if path == "/stream":
        return
    without = ask(http, method, path, {})
    assert without == 401 if rule.scopes else without not in (401, 403)
    for wrong in ("Bearer sm_" + "x" * 43, "Bearer ", "Basic abc", f"bearer{secrets[Scope.ADMIN]}"):
        got = ask(http, method, path, {"authorization": wrong})
        assert got == 401 if rule.scopes else got not in (401, 403), wrong
    for scope, secret in secrets.items():
        got = ask(http, method, path, bearer(secret))
        if rule.scopes and scope not in rule.scopes:
            assert got == 403, scope
        else:
            assert got not in (401, 403), scope


@dataclass
class Stale:
    """A server with a valid token, and headers with stale credentials."""

    http: TestClient
    good: str
    headers: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stale]:
    with open_app(tmp_path_factory.mktemp("stale")) as http:
        store = store_of(http)
        expired, _ = store.create_token("chief", [Scope.ADMIN], 1e-6)
        revoked, made = store.create_token("chief", [Scope.ADMIN])
        login = store.token_login(revoked)
        assert login is not None
        session, _ = store.open_session(login, 60)
        store.revoke_token(made.token)
        cookie = {"cookie": f"{auth.COOKIE}={session}", "origin": "http://testserver"}
        good, _ = store.create_token("chief", [Scope.ADMIN])
        yield Stale(http, good, {"expired": bearer(expired), "revoked": bearer(revoked), "session": cookie})


GUARDED = [(method, path) for method, path in ROUTES if auth.RULES[f"{method} {path}"].scopes]


@pytest.mark.parametrize(("method", "path"), GUARDED, ids=[f"{m} {p}" for m, p in GUARDED])
def test_every_route_rejects_stale_credentials(stale: Stale, method: str, path: str) -> None:
    for name, headers in stale.headers.items():
        answer = stale.http.request(method, address(path), headers=headers)
        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"].startswith("Bearer")
    # In the address nothing is a token: addresses end up in logs and in the browser's history.
    for name in ("token", "access_token", "authorization", auth.COOKIE):
        assert stale.http.request(method, f"{address(path)}?{name}={stale.good}").status_code == 401


def test_the_stream_of_everything_needs_read(closed: tuple[TestClient, dict[Scope, str]]) -> None:
    http, secrets = closed
    assert auth.RULES["GET /stream"] == auth.READ
    answer = http.get("/stream")
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert http.get("/stream", headers=bearer(secrets[Scope.WORKER])).status_code == 403


def test_a_refused_body_is_not_read(closed: tuple[TestClient, dict[Scope, str]]) -> None:
    http, secrets = closed
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"x" * 1000

    answer = http.put(f"/artifacts/{DIGEST}", content=body(), headers=bearer(secrets[Scope.READ]))
    assert answer.status_code == 403 and answer.json()["error"]["type"] == "Forbidden"


def test_unknown_paths_say_nothing(closed: tuple[TestClient, dict[Scope, str]]) -> None:
    http, _ = closed
    assert http.get("/nowhere").status_code == 404
    assert http.put("/experiments").status_code == 405


def test_an_experiment_belongs_to_its_creator(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        unowned = http.post("/experiments", json={"spec": SPEC}).json()
        assert unowned["owner"] is None
        one, _ = store.create_token("one", [Scope.WRITE])
        again, _ = store.create_token("one", [Scope.WRITE])
        other, _ = store.create_token("other", [Scope.WRITE])
        admin, _ = store.create_token("chief", [Scope.ADMIN])
        made = http.post("/experiments", json={"spec": SPEC}, headers=bearer(one)).json()
        assert made["owner"] == "one"
        # Repeating another user's idempotency key does not change the owner.
        once = {"idempotency-key": "once"}
        first = http.post("/experiments", json={"spec": SPEC}, headers=bearer(one) | once)
        assert (first.status_code, first.json()["owner"]) == (201, "one")
        assert (
            http.post("/experiments", json={"spec": SPEC}, headers=bearer(again) | once).json()
            == first.json()
        )
        assert http.post("/experiments", json={"spec": SPEC}, headers=bearer(other) | once).status_code == 409
        path = f"/experiments/{made['id']}"
        mine = [
            line.split(" ", 1) for line, rule in auth.RULES.items() if rule.owned and "{experiment}" in line
        ]
        assert ["DELETE", "/experiments/{experiment}"] in mine and len(mine) >= 8
        for method, where in mine:
            where = where.replace("{experiment}", str(made["id"])).replace("{index}", "0")
            answer = http.request(method, where, json={}, headers=bearer(other))
            assert answer.status_code == 403 and "belongs to one" in answer.json()["error"]["message"], where
        assert http.get(path, headers=bearer(other)).json()["state"] == "running"
        for secret in (one, again, admin):
            assert http.post(f"{path}/stop", headers=bearer(secret)).status_code == 200
            assert http.post(f"{path}/resume", headers=bearer(secret)).status_code == 200
        # Experiments from before logins existed have no owner.
        assert http.post(f"/experiments/{unowned['id']}/stop", headers=bearer(other)).status_code == 200
        assert http.delete(path, headers=bearer(one)).status_code == 204


def test_another_workers_token_reports_nothing(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, 3)
        early = http.post("/claims", json={"worker": "w", "request": "early"}).json()  # before logins existed
        mine, _ = store.create_token("lab", [Scope.WORKER])
        other, _ = store.create_token("lab", [Scope.WORKER])
        admin, _ = store.create_token("chief", [Scope.ADMIN])
        claim = http.post("/claims", json={"worker": "w", "request": "r"}, headers=bearer(mine)).json()
        stolen = http.post("/claims", json={"worker": "w", "request": "r"}, headers=bearer(other))
        assert stolen.status_code == 409 and claim["token"] not in stolen.text
        body = {
            "token": claim["token"],
            "points": [],
            "log": [],
            "digest": DIGEST,
            "result": {"state": "stopped"},
        }
        path = f"/attempts/{claim['attempt']}"
        for secret in (other, admin):
            for line in (line for line, rule in auth.RULES.items() if rule.bound):
                method, _, where = line.partition(" ")
                answer = http.request(
                    method,
                    where.replace("{attempt}", str(claim["attempt"])),
                    json=body,
                    headers=bearer(secret),
                )
                assert answer.status_code == 403 and "another token" in answer.json()["error"]["message"], (
                    where
                )
        beat = {"token": claim["token"]}
        assert http.post(f"{path}/heartbeat", json=beat, headers=bearer(mine)).status_code == 200
        early_path = f"/attempts/{early['attempt']}/heartbeat"
        assert http.post(early_path, json={"token": early["token"]}, headers=bearer(other)).status_code == 200
