"""The page about Python is executed, with a server behind the address that it names."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from starlette.testclient import TestClient
from support_docs import DOCS, blocks
from support_interactive import clients, search
from test_service_client import Bridge

import sparsemod as sm
from service.client.client import Client
from service.http.app import create_app
from service.settings import Settings

__all__ = ["clients"]
PAGE = DOCS / "python.md"


def test_the_page_runs(
    clients: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "documentation"}
    with TestClient(create_app(Settings(data_dir=tmp_path / "server"))) as app:
        bridge = Bridge(app)
        monkeypatch.setattr("service.client.connection.Client", partial(Client, transport=bridge))
        with Client("http://127.0.0.1:8080", transport=bridge) as client:
            client.create_experiment(search().to_dict() | {"name": "first search"})
        for block in blocks("python", (PAGE,)):
            exec(compile("\n" * block.line + block.text, str(PAGE), "exec"), names)  # noqa: S102
    plt.close("all")
    assert (tmp_path / "search.png").is_file() and (tmp_path / "best" / "card.html").is_file()
    assert isinstance(names["remote"], sm.Results) and "c: equal in every byte" in capsys.readouterr().out


def test_the_page_names_existing_members() -> None:
    text = PAGE.read_text()
    for name in ("run", "load", "connect", "Results", "Trial"):
        assert f"sm.{name}" in text and name in sm.__all__
    for name in re.findall(r"`results\.(\w+)", text):
        assert hasattr(sm.Results, name), name
    for name in re.findall(r"`server\.(\w+)", text):
        assert hasattr(sm.Server, name), name
