"""Exports over HTTP: created in a separate process, stored as artifacts with their reports."""

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from support_export import Every, Wide, finished, quantized

from service.client.client import Client
from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from sparsemod.export import ExportReport


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("exports"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def store(http: TestClient) -> Store:
    found: Store = http.app.state.store  # type: ignore[attr-defined]
    return found


def wait(http: TestClient, path: str) -> list[dict[str, Any]]:
    limit = time.monotonic() + 120
    while True:
        found: list[dict[str, Any]] = http.get(path).json()
        if all(item["state"] in ("done", "failed") for item in found):
            return found
        assert time.monotonic() < limit, found
        time.sleep(0.1)


@pytest.mark.long
def test_the_front_is_exported_and_kept(http: TestClient, store: Store) -> None:
    files = http.app.state.files  # type: ignore[attr-defined]
    experiment, trial = finished(store, files, quantized(Every))
    before = store.trial(experiment, trial)
    answer = http.post(f"/pareto/{experiment}/exports", json={"formats": ["c", "onnx", "tflite"]})
    assert answer.status_code == 202, answer.text
    # Some server, this one or another, may have begun already.
    assert [item["state"] for item in answer.json()] in (["queued"] * 3, ["running"] * 3)
    path = f"/experiments/{experiment}/trials/{trial}/exports"
    again = http.post(path, json={"formats": ["onnx"]}).json()
    assert [item["state"] for item in again] in (["queued"], ["running"], ["done"])  # nothing twice
    found = wait(http, path)
    assert [(item["format"], item["state"]) for item in found] == [
        ("c", "done"),
        ("onnx", "done"),
        ("tflite", "done"),
    ]
    assert http.get(f"/experiments/{experiment}/exports").json() == found
    for item in found:
        report = ExportReport.model_validate(item["report"])
        assert report.missing == () and all(check.samples > 0 for check in report.verifications)
        assert all("validation samples of digits" in check.data for check in report.verifications)
        names = {artifact["name"]: artifact for artifact in item["artifacts"]}
        assert {"card.md", "card.html", "memory.png", f"{item['format']}-verification.json"} < set(names)
    c = next(item for item in found if item["format"] == "c")
    assert c["report"]["verifications"][0]["largest_difference"] == 0
    archive = next(a for a in c["artifacts"] if a["name"] == "store_test_0-c.zip")
    with zipfile.ZipFile(io.BytesIO(http.get(archive["url"]).content)) as opened:
        assert "store_test_0/store_test_0.c" in opened.namelist()
    after = store.trial(experiment, trial)
    assert {a.kind for a in before.artifacts} < {a.kind for a in after.artifacts}
    assert after.model_copy(update={"artifacts": before.artifacts}) == before
    client = Client("http://test", transport=_Through(http))
    assert [view.format for view in client.exports(experiment, trial)] == ["c", "onnx", "tflite"]


class _Through(httpx2.BaseTransport):
    """The client's requests, answered by the application in this process."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.http.request(request.method, str(request.url.raw_path, "ascii"), content=request.read())
        # The test client has unpacked the content already.
        headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        return httpx2.Response(answer.status_code, content=answer.content, headers=headers)


def test_a_network_that_does_not_fit_names_region_and_bytes(
    http: TestClient, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ntitle: A tiny chip\ncore: cortex-m4\nclock: 1000000\nflash: 4096\nram: 4096\ncycles_per_instruction: 1.0\nsource: none\n"
    )
    monkeypatch.setenv("SPARSEMOD_DEVICES", str(tmp_path))
    files = http.app.state.files  # type: ignore[attr-defined]
    experiment, trial = finished(store, files, quantized(lambda: Wide(100)))
    path = f"/experiments/{experiment}/trials/{trial}/exports"
    assert http.post(path, json={"formats": ["c"], "device": "tiny"}).status_code == 202
    (item,) = wait(http, path)
    assert item["state"] == "failed" and item["report"]["detail"]["region"] == "flash"
    over = item["report"]["detail"]["over"]
    assert over > 3000 and f"flash is exceeded by {over} bytes" in item["report"]["failure"]
    assert "A tiny chip" in item["report"]["failure"]


def test_trials_that_cannot_be_exported(http: TestClient, store: Store) -> None:
    files = http.app.state.files  # type: ignore[attr-defined]
    experiment, trial = finished(store, files, None)
    path = f"/experiments/{experiment}/trials/{trial}/exports"
    refused = http.post(path, json={"formats": ["c"]})
    assert refused.status_code == 409 and "no network to export" in refused.json()["error"]["message"]
    assert http.get(path).json() == []
    for body, field in (({"formats": []}, "formats"), ({"formats": ["hex"]}, "formats.0"), ({}, "formats")):
        answer = http.post(path, json=body)
        assert answer.status_code == 422 and answer.json()["error"]["field"] == field, answer.text
    for name in ("string", "a__b", "Net", ""):
        answer = http.post(path, json={"formats": ["c"], "name": name})
        assert answer.status_code == 422 and answer.json()["error"]["field"] == "name", answer.text
    unknown = http.post(path, json={"formats": ["c"], "device": "toaster"})
    assert unknown.status_code == 422 and unknown.json()["error"]["field"] == "device"
    assert http.post("/experiments/999/trials/0/exports", json={"formats": ["c"]}).status_code == 404
    assert http.get("/experiments/999/exports").status_code == 404
    empty = store.create_experiment(store.experiment(experiment).spec).id
    answer = http.post(f"/pareto/{empty}/exports", json={"formats": ["c"]})
    assert answer.status_code == 409 and "front is empty" in answer.json()["error"]["message"]


@pytest.mark.long
def test_an_export_under_another_name_takes_the_place_of_the_earlier_one(
    http: TestClient, store: Store
) -> None:
    files = http.app.state.files  # type: ignore[attr-defined]
    experiment, trial = finished(store, files, quantized(lambda: Wide(4)))
    path = f"/experiments/{experiment}/trials/{trial}/exports"
    for name in ("first", "second"):
        assert http.post(path, json={"formats": ["onnx"], "name": name}).status_code == 202
        (item,) = wait(http, path)
        assert item["report"]["name"] == name
    made = [a["name"] for a in item["artifacts"] if a["kind"] == "export.onnx"]
    assert made == ["second.onnx"]
    assert [a.name for a in store.trial(experiment, trial).artifacts if a.kind == "export.onnx"] == made
    assert (
        http.post(f"/pareto/{experiment}/exports", json={"formats": ["onnx"], "name": "face"}).status_code
        == 202
    )
    assert wait(http, path)[0]["report"]["name"] == f"face_{trial}"


def test_a_child_that_dies_is_a_failed_export(
    http: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = http.app.state.files  # type: ignore[attr-defined]
    experiment, trial = finished(store, files, quantized(lambda: Wide(4)))
    monkeypatch.setattr("service.processes.task_process.sys.executable", "/bin/false")
    path = f"/experiments/{experiment}/trials/{trial}/exports"
    assert http.post(path, json={"formats": ["onnx"]}).status_code == 202
    (item,) = wait(http, path)
    assert item["state"] == "failed" and "ended early" in item["report"]["failure"]


def test_the_server_loads_no_packages_of_formats() -> None:
    code = (
        "import sys, service.http.app, service.jobs.exports, service.http.routes.exports; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'ai_edge_litert', 'tflite_micro', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
