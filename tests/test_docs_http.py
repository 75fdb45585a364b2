"""The examples on the page of the HTTP API match the server's responses."""

import json
import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from support_docs import DOCS, blocks, built

from service.http.app import PARTS, create_app
from service.settings import Settings


def test_the_error_that_is_shown(tmp_path: Path) -> None:
    (shown,) = blocks("json", (DOCS / "http.md",))
    body = "dataset: {name: digits}\nnetwork: {family: mlp}\nseed: -3\n"
    with TestClient(create_app(Settings(data_dir=tmp_path))) as client:
        answer = client.post("/experiments", content=body, headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 422
    assert answer.json() == json.loads(shown.text)


def test_every_route_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = built("http.md")
    assert not list(tmp_path.iterdir()), "building the documentation leaves nothing behind"
    routes = {
        f"{method} {route.path_format}"
        for part in PARTS
        for route in part.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    described = set(re.findall(r"^### `([A-Z]+ /.*)`$", page, flags=re.MULTILINE))
    assert routes - described == {"GET /", "GET /dashboard/{name}", "GET /docs"}, "what a browser shows"
    assert described <= routes and len(described) > 40
