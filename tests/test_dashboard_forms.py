"""The requests of the page's form: catalogue, checking a spec, and the folders that data may be read from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support_auth import open_app
from support_store import SPEC

from service.settings import Settings


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with open_app(tmp_path, max_artifact_bytes=10_000_000) as client:
        yield client


def test_the_catalogue_lists_names_for_specs(http: TestClient) -> None:
    found = http.get("/catalogue").json()
    families = {f["name"]: f for f in found["families"]}
    assert {"cnn", "mlp"} <= set(families) and families["cnn"]["description"]
    space = {p["name"]: p for p in families["cnn"]["spaces"]["digits"]}
    assert space["blocks"]["type"] == "integer" and space["blocks"]["low"] == 1
    assert all("when" in p for p in space.values())
    datasets = {d["name"]: d for d in found["datasets"]}
    assert datasets["digits"]["shape"] == [1, 8, 8] and datasets["npz"]["shape"] is None
    assert {o["name"]: o["required"] for o in datasets["npz"]["options"]} == {"path": True, "layout": False}
    assert {d["name"] for d in found["devices"]} >= {"stm32f446"} and found["devices"][0]["ram"] > 0
    assert "properties" in found["schema"] and found["defaults"]["version"] == 2
    assert found["aliases"]["size"] == "model_size"
    assert {m["name"] for m in found["metrics"] if m["objective"]} > {"error", "latency", "flash", "ram"}


def test_a_spec_is_checked_without_being_created(http: TestClient) -> None:
    found = http.post("/experiments/check", json={"spec": SPEC}).json()
    again = http.post(
        "/experiments/check", content=found["yaml"], headers={"content-type": "application/yaml"}
    )
    assert again.json() == found and found["spec"]["source"]["acquisition"] == "ehvi"
    wrong = http.post("/experiments/check", json={"spec": {**SPEC, "objectives": ["speed"]}})
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "objectives.0"
    assert http.get("/experiments").json()["total"] == 0


@pytest.mark.parametrize(
    ("dataset", "field"),
    [
        ({"name": "digits", "root": "/etc"}, "dataset.root"),
        ({"name": "digits", "root": "relative"}, "dataset.root"),
        ({"name": "digits", "root": "~"}, "dataset.root"),
        ({"name": "digits", "root": "DATA/../elsewhere"}, "dataset.root"),
        ({"name": "digits", "root": "DATA/link"}, "dataset.root"),
        ({"name": "npz", "options": {"path": "/etc/passwd"}}, "dataset.options.path"),
        ({"name": "npz", "options": {"path": "../secret.npz"}}, "dataset.options.path"),
        ({"name": "npz", "options": {"path": "a\x00b"}}, "dataset.options.path"),
        ({"name": "npz", "options": {"path": "~root/x.npz"}}, "dataset.options.path"),
        ({"name": "npz", "root": "MORE", "options": {"path": "../more2/x.npz"}}, "dataset.options.path"),
        ({"name": "npz", "options": {"path": "mine.npz"}}, None),
        ({"name": "npz", "options": {"path": "DATA/mine.npz"}}, None),
        ({"name": "npz", "root": "DATA/inner", "options": {"path": "../mine.npz"}}, None),
        ({"name": "digits", "root": "MORE"}, None),
    ],
)
def test_data_are_read_from_the_servers_folders_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: dict[str, Any], field: str | None
) -> None:
    data, more = tmp_path / "data", tmp_path / "more"
    data.mkdir()
    more.mkdir()
    (data / "link").symlink_to("/etc")
    monkeypatch.setenv("SPARSEMOD_DATA", str(data))
    given = json.loads(json.dumps(dataset).replace("DATA", str(data)).replace("MORE", str(more)))
    with open_app(tmp_path / "server", dataset_dirs=(more,)) as http:
        for path in ("/experiments", "/experiments/check"):
            answer = http.post(path, json={"spec": {**SPEC, "dataset": given}})
            if field is None:
                assert answer.status_code in (200, 201), answer.text
            else:
                found = answer.json()["error"]
                assert answer.status_code == 422 and found["field"] == field
                assert str(data) in found["allowed"] and "SPARSEMOD_DATASET_DIRS" in found["allowed"]


def test_folders_of_data_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_DATASET_DIRS", "/one, /two")
    assert Settings().dataset_dirs == (Path("/one"), Path("/two"))
