"""Mistakes that a server must report when an experiment is created, and its errors for hostile bodies."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.http.app import create_app
from service.settings import Settings
from sparsemod.errors import InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec

GOOD: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "network": {"family": "mlp"},
    "rounds": {
        "r1": {"trials": 1, "epochs": 1},
        "r2": {"trials": 0, "epochs": 1},
        "r3": {"trials": 0, "epochs": 1},
    },
    "objectives": ["error"],
}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data_dir=tmp_path_factory.mktemp("server")))) as client:
        yield client


def test_all_mistakes_of_a_spec_come_at_once(http: TestClient) -> None:
    rounds = GOOD["rounds"] | {"r1": {"trials": "some", "epochs": 0}}
    spec = GOOD | {"name": "a/b", "seed": -1, "rounds": rounds, "objectives": ["speed"]}
    error = http.post("/experiments", json={"spec": spec}).json()["error"]
    assert error["field"] == "name" and error["allowed"].startswith("letters, digits, spaces")
    found = [other["field"] for other in error["others"]]
    assert found == ["source.rounds.r1.trials", "source.rounds.r1.epochs", "objectives.0", "seed"]
    assert "'some'" in error["others"][0]["message"]
    # Of very many mistakes, some.
    many = GOOD | {f"key_{number}": 1 for number in range(500)}
    assert len(http.post("/experiments", json={"spec": many}).json()["error"]["others"]) == 20


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"network": {"family": "os:system"}}, "network.family", "code cannot be named here"),
        ({"dataset": {"name": "os:system"}}, "dataset.name", "code cannot be named here"),
        ({"target": {"device": "os:system"}}, "target.device", "code cannot be named here"),
        ({"target": {"device": "../../etc/passwd"}}, "target.device", "stm32f446"),
        (
            {"dataset": {"name": "digits", "options": {"limits": 5}}},
            "dataset.options",
            "digits takes normalization",
        ),
        ({"dataset": {"name": "npz"}}, "dataset.options", "missing a required"),
        ({"budgets": ["flash <= 0"]}, "budgets.0", "METRIC <= a positive number"),
        ({"rounds": {"r1": {"trials": 10**9, "epochs": 1}}}, "source.rounds.r1.trials", "100000"),
    ],
)
def test_a_spec_that_could_only_fail_is_refused_at_once(
    http: TestClient, changes: dict[str, Any], field: str, allowed: str
) -> None:
    answer = http.post("/experiments", json={"spec": GOOD | changes})
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["field"] == field
    assert allowed in error["allowed"]
    assert http.get("/experiments").json()["total"] == 0, "nothing was made"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"budgets": {"flash": float("inf")}}, "budgets.flash"),
        ({"space": {"learning_rate": {"low": 1e-3, "high": float("inf")}}}, "space.learning_rate.high"),
        ({"objectives": ["error", float("nan")]}, "objectives.1"),
        ({"name": "a\ud800"}, "name"),
    ],
)
def test_numbers_and_text_that_json_cannot_hold_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        ExperimentSpec.parse(GOOD | changes)
    assert caught.value.field == field


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_refused(http: TestClient, depth: int) -> None:
    body = '{"spec": ' + '{"a": ' * depth + "1" + "}" * depth + "}"
    answer = http.post("/experiments", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    with pytest.raises(InvalidSpec):
        ExperimentSpec.parse(deep)


@pytest.mark.parametrize("text", ["[" * 2_000_000, '"' + "x" * 2_000_000 + '"'])
def test_a_long_text_is_refused_before_it_is_read(http: TestClient, text: str) -> None:
    answer = http.post("/experiments", content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 413
    assert "at most" in answer.json()["error"]["allowed"]


def test_a_trial_that_is_not_there_is_named(http: TestClient) -> None:
    made = http.post("/experiments", json={"spec": GOOD}).json()["id"]
    answer = http.get(f"/experiments/{made}/trials/99")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"no trial 99 in experiment {made}"
    assert json.dumps(answer.json())
