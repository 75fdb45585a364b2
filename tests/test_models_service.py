"""Uploaded models: stored, read and measured in a child process, listed, deleted, and searched from."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of
from support_export import Every, quantized
from torch import nn

from service.schemas.logins import Scope
from sparsemod.export.onnx.exporter import to_onnx
from sparsemod.importing.readers.exported_archive import without_examples

PATIENCE = 200.0
"""Seconds. No result: only how long a machine may be busy with other things before a test gives up."""


def program(module: nn.Module | None = None) -> bytes:
    """A small trained network for digits, as a .pt2 file without pickled examples."""
    torch.manual_seed(0)
    network = module or nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    file = io.BytesIO()
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(2, 1, 8, 8),)), file)
    return without_examples(file.getvalue())


def measured(http: TestClient, name: str, content: bytes, **headers: str) -> dict[str, Any]:
    """Upload a model and wait for its end."""
    answer = http.post(f"/models?name={name}", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        view: dict[str, Any] = http.get(f"/models/{answer.json()['id']}", headers=headers).json()
        if view["state"] in ("done", "failed"):
            return view
        time.sleep(0.1)
    raise AssertionError(f"{name} was not measured")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_app(tmp_path_factory.mktemp("models")) as opened:
        yield opened


@pytest.fixture(scope="module")
def digits(http: TestClient) -> dict[str, Any]:
    return measured(http, "digits.pt2", program())


@pytest.mark.long
def test_a_float_model_is_measured_layer_by_layer(digits: dict[str, Any]) -> None:
    assert digits["state"] == "done" and digits["failure"] is None
    report = digits["report"]
    assert report["format"] == "torch.export program" and report["trainable"]
    assert (report["shape"], report["outputs"]) == ([1, 8, 8], [10])
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["0"]["macs"] == 36 * 9 * 4 and layers["3"]["weights"] == 1440
    assert all(layers[name]["instructions"] > 0 and layers[name]["memory"] > 0 for name in ("0", "3"))
    values = {m["metric"]: m["value"] for m in report["measurements"]}
    assert values["macs"] == sum(layer["macs"] for layer in report["layers"])
    assert report["fits"][0]["device"] == "stm32f446" and all(fit["fits"] for fit in report["fits"])
    assert any("random inputs" in note for note in report["notes"])


def test_an_int8_model_is_measured_but_not_searched_from(http: TestClient) -> None:
    view = measured(http, "every.onnx", to_onnx(quantized(Every)))
    assert view["report"]["format"] == "ONNX, int8" and not view["report"]["trainable"]
    body = {"dataset": {"name": "digits"}}
    answer = http.post(f"/models/{view['id']}/experiments", json=body)
    assert answer.status_code == 409 and "float model" in answer.json()["error"]["message"]


def test_a_search_starts_from_a_model_and_keeps_its_file(http: TestClient, digits: dict[str, Any]) -> None:
    body = {"dataset": {"name": "digits"}, "budgets": ["flash <= 3 KB"], "trials": 5, "methods": ["filters"]}
    answer = http.post(f"/models/{digits['id']}/experiments", json=body)
    assert answer.status_code == 201, answer.text
    spec = answer.json()["spec"]
    assert spec["network"] == {
        "family": "imported",
        "options": {"file": digits["digest"], "name": "digits.pt2"},
        "substitutes": [],
        "substitutes_skip": None,
        "front_end": None,
    }
    assert spec["budgets"] == {"flash": 3072} and answer.json()["name"] == "digits compressed"
    refused = http.delete(f"/models/{digits['id']}")
    assert refused.status_code == 409 and "uses model" in refused.json()["error"]["message"]
    http.post(f"/experiments/{answer.json()['id']}/stop")
    assert http.delete(f"/experiments/{answer.json()['id']}").status_code in (200, 204)
    bad = http.post(f"/models/{digits['id']}/experiments", json={**body, "methods": ["guess"]})
    assert bad.status_code == 422 and "guess" in bad.json()["error"]["message"]


def test_the_same_upload_again_is_the_same_model_and_a_deleted_one_is_gone(http: TestClient) -> None:
    content = program(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    first = measured(http, "small.pt2", content)
    assert measured(http, "small.pt2", content)["id"] == first["id"]
    assert first["id"] in [view["id"] for view in http.get("/models").json()]
    assert http.delete(f"/models/{first['id']}").status_code == 204
    assert http.get(f"/models/{first['id']}").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.onnx", b"\x08\x07garbage", "broken.onnx"),
        ("cut.pt2", b"PK\x03\x04 cut", "cut.pt2"),
        ("empty.tflite", b"\0\0\0\0TFL3" + b"\xff" * 64, "empty.tflite"),
    ],
)
def test_a_broken_file_fails_with_one_sentence(
    http: TestClient, name: str, content: bytes, words: str
) -> None:
    view = measured(http, name, content)
    assert view["state"] == "failed" and view["report"] is None
    assert words in view["failure"] and "\n" not in view["failure"]


@pytest.mark.parametrize(
    ("query", "content", "field"),
    [
        ("name=model.bin", b"x", "name"),
        ("name=..%2Fmodel.onnx", b"x", "name"),
        ("name=model.onnx&device=toaster", b"x", "device"),
        ("name=model.onnx", b"", "body"),
        ("name=model.pt2", b"\x80\x04pickle", "body"),
    ],
)
def test_an_upload_that_cannot_be_a_model_is_refused(
    http: TestClient, query: str, content: bytes, field: str
) -> None:
    answer = http.post(f"/models?{query}", content=content)
    assert answer.status_code == 422 and answer.json()["error"]["field"] == field, answer.text


def test_pickled_examples_of_a_program_are_refused(http: TestClient) -> None:
    file = io.BytesIO()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 8),)), file)
    answer = http.post("/models?name=pickled.pt2", content=file.getvalue())
    assert answer.status_code == 422 and answer.json()["error"]["field"] == "body"


def test_a_model_belongs_to_its_uploader(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        one, other = (bearer(store.create_token(name, [Scope.WRITE])[0]) for name in ("one", "other"))
        answer = http.post("/models?name=a.onnx", content=b"x", headers=one).json()
        assert answer["owner"] == "one"
        refused = http.delete(f"/models/{answer['id']}", headers=other)
        assert refused.status_code == 403 and "belongs to one" in refused.json()["error"]["message"]
        assert http.delete(f"/models/{answer['id']}", headers=one).status_code == 204


def test_a_model_whose_measuring_kills_servers_fails_in_the_end(tmp_path: Path) -> None:
    from support_store import Clock

    from service.schemas.models import ModelState
    from service.store import Store

    clock = Clock()
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}", clock=clock)
    digest = "sha256:" + "1" * 64
    store.add_artifact(digest, 3)
    model = store.add_model("a.onnx", digest, 3, "stm32f446", None)
    for _ in range(3):
        claimed = store.claim_model(10.0)
        assert claimed is not None and claimed[0].id == model.id
        assert store.claim_model(10.0) is None  # another server has it
        clock.now += 11.0
    assert store.claim_model(10.0) is None
    assert store.model(model.id).state is ModelState.FAILED
    assert store.drop_strays(0.0, lambda digest: None) == 0  # a model's file is no stray
    store.close()
