"""Ids in paths have one spelling: whatever else some parser would take for the number reaches nothing, with any token, on any route."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.routing import APIRoute
from support_auth import bearer, open_app, store_of, tokens
from support_store import SPEC, fill

from service.http import auth
from service.http.app import PARTS
from service.schemas.logins import Scope

pytestmark = pytest.mark.slow(every=6)

NUMBER = 3

ODD = [
    "3.0", "3.", "+3", "%2B3", "03", "003", "3e0", "3E0", "%33", "%20%33", "3%20", "%203", "3%0A", "3%00", "3_", "0x3", "0b11", "-3", "3;", "3,0", "3%2F",
    "3/", "\u0663", "\uff13", "%D9%A3", "\u00b3", "true", "3" * 400,
]  # fmt: skip
"""Spellings that `int`, `float`, pydantic, a URL parser or a database takes for 3, or nearly."""

ROUTES = sorted(
    {
        (method, route.path_format)
        for part in PARTS
        for route in part.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if re.search(r"{(experiment|attempt|index)}", route.path_format)
    }
)


@dataclass
class Served:
    """A server with experiment 3 of `owner`, trial 3 and attempt 3, and headers for each scope and for no
    login."""

    app: Any
    headers: dict[str, dict[str, str]]


def status(app: Any, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request with exactly this path. Straight to the application: a client would normalize it."""
    found: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    shown = {"host": "testserver", "content-type": "application/json", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "query_string": b"", "root_path": "",
        "path": unquote(path), "raw_path": path.encode(), "headers": [(k.encode(), v.encode()) for k, v in shown.items()],
        "client": ("127.0.0.1", 1), "server": ("testserver", 80), "state": {},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return found[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with open_app(tmp_path_factory.mktemp("ids")) as http:
        store = store_of(http)
        for _ in range(NUMBER):
            made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, NUMBER + 1)
        secrets = tokens(store)
        worker = secrets[Scope.WORKER]
        for number in range(NUMBER):
            claim = http.post("/claims", json={"worker": f"w{number}"}, headers=bearer(worker)).json()
        assert (made, claim["attempt"]) == (NUMBER, NUMBER)
        yield Served(http.app, {"": {}, **{scope.value: bearer(secret) for scope, secret in secrets.items()}})


def filled(path: str, odd: str, name: str) -> str:
    """The path with `odd` in one place, the canonical number in the others."""
    return re.sub(r"{(\w+)}", lambda found: odd if found[1] == name else str(NUMBER), path)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{m} {p}" for m, p in ROUTES])
def test_every_route_with_every_scope_and_every_odd_spelling(served: Served, method: str, path: str) -> None:
    for name in re.findall(r"{(\w+)}", path):
        for odd in ODD:
            for shown, headers in served.headers.items():
                got = status(served.app, method, filled(path, odd, name), headers)
                assert got == 404, (shown, name, odd)
    for shown, headers in served.headers.items():
        got = status(served.app, method, filled(path, "", "") + "/", headers)
        assert got in (404, 405), (shown, "a slash at the end")


def test_a_percent_sign_anywhere_in_a_path_with_ids_reaches_nothing(served: Served) -> None:
    assert status(served.app, "GET", "/experiments/3", served.headers["read"]) == 200
    for path in ("/%65xperiments/3", "/experiments%2F3", "/experiments/3%3F"):
        assert status(served.app, "GET", path, served.headers["read"]) == 404, path


def test_anothers_token_does_nothing_under_any_spelling(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        owner, other = (store.create_token(name, [Scope.WRITE])[0] for name in ("owner", "other"))
        for _ in range(NUMBER):
            http.post("/experiments", json={"spec": SPEC}, headers=bearer(owner))
        for odd in ODD:
            assert status(http.app, "DELETE", f"/experiments/{odd}", bearer(other)) == 404, odd
        assert status(http.app, "DELETE", "/experiments/3", bearer(other)) == 403
        assert store.experiment(NUMBER).owner == "owner"
        assert status(http.app, "DELETE", "/experiments/3", bearer(owner)) == 204


def test_an_endpoint_acts_on_the_parameters_that_the_guard_has_seen(tmp_path: Path) -> None:
    """Were the two to disagree, the request would end with 403."""
    from fastapi import Request

    from service.errors import Forbidden

    scope: dict[str, Any] = {
        "type": "http",
        "path_params": {"experiment": 3},
        "sparsemod_admitted": {"experiment": 3},
    }
    asyncio.run(auth.guarded(Request(scope)))
    for seen in ({"experiment": 4}, {"experiment": "3"}, {}, None):
        with pytest.raises(Forbidden):
            asyncio.run(auth.guarded(Request({**scope, "sparsemod_admitted": seen})))
