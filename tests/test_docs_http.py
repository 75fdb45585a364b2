"""What the page on the HTTP API shows is what the server answers."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support_docs import DOCS, blocks, generator

from service.http.app import create_app
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
    text = generator().http_api()
    assert not list(tmp_path.iterdir()), "building the documentation leaves nothing behind"
    for path, methods in create_app(Settings(data_dir=tmp_path)).openapi()["paths"].items():
        for method in methods:
            assert f"### `{method.upper()} {path}`" in text
