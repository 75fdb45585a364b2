"""Inputs of endpoints other than specs: unknown names, types, and the location in errors."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support_store import SPEC, fill

from service.http.app import create_app
from service.settings import Settings
from service.store import Store


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("inputs")
    with TestClient(create_app(Settings(data_dir=folder)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def made(http: TestClient) -> int:
    found: int = http.post("/experiments", json={"spec": SPEC}).json()["id"]
    return found


def said(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/experiments?stat=done", "stat"),
        ("/experiments/1/trials?limit=5&status=completed", "status"),
        ("/pareto/1?fmt=csv", "fmt"),
        ("/health?x", "x"),
    ],
)
def test_a_query_parameter_that_is_none_is_refused(http: TestClient, made: int, path: str, name: str) -> None:
    found = said(http.get(path))
    assert found["field"] == name
    assert "query parameter" in found["allowed"]
    if "trials" in path:
        assert "state" in found["allowed"]


def test_a_query_parameter_is_given_once(http: TestClient, made: int) -> None:
    assert said(http.get("/experiments?limit=1&limit=2"))["value"] == "'1, 2'"


def test_pages_take_any_query(http: TestClient) -> None:
    assert http.get("/?from=a-mail").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field", "allowed"),
    [
        ("/claims", {}, "worker", "is missing"),
        ("/claims", {"worker": "w", "slots": "1"}, "slots", "valid integer"),
        ("/claims", {"worker": "w", "bogus": 1}, "bogus", "unknown key"),
        ("/claims", [], "body", "dictionary"),
        ("/experiments/1/extend", {"rounds": {"r1": "1"}}, "rounds.r1", "valid integer"),
        ("/experiments/1/extend", {"rounds": {"r4": 1}}, "rounds.r4", "r1, r2, r3 or repeats"),
        ("/experiments/1/trials", {"parameters": {"dropout": None}}, "parameters.dropout", "valid number"),
        ("/experiments/1/trials", {"parameters": {}, "epochs": True}, "epochs", "valid integer"),
        (
            "/attempts/1/points",
            {"token": "t", "points": [{"epoch": 1}]},
            "points.0.train_loss",
            "is missing",
        ),
    ],
)
def test_an_error_names_the_place_in_the_body(
    http: TestClient, made: int, path: str, body: Any, field: str, allowed: str
) -> None:
    found = said(http.post(path, json=body))
    assert found["field"] == field
    assert allowed in found["allowed"]
    if allowed == "is missing":
        assert found["value"] == "None"


def test_a_budget_is_not_given_under_two_names(http: TestClient, made: int) -> None:
    found = said(http.post(f"/experiments/{made}/extend", json={"budgets": {"size": 900, "model_size": 800}}))
    assert found["field"] == "budgets.model_size"
    assert "once" in found["allowed"]


def test_csv_holds_the_filtered_trials(http: TestClient) -> None:
    store: Store = http.app.state.store  # type: ignore[attr-defined]
    other = http.post("/experiments", json={"spec": SPEC}).json()["id"]
    fill(store, other, 4)
    base = f"/experiments/{other}/trials"
    http.post(f"{base}/2/stop")

    def trials(**query: Any) -> list[str]:
        text = http.get(base, params={"format": "csv", **query}).text
        return [line["trial"] for line in csv.DictReader(io.StringIO(text))]

    assert trials() == ["0", "1", "2", "3"]
    assert trials(state="stopped") == ["2"]
    assert trials(state="queued", order="desc", limit=1) == ["3", "1", "0"]
    assert trials(round="r3") == []
