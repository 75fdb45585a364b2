"""The HTTP API in one process: endpoints, errors, limits."""

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support_store import SPEC, completed, fill, point, stored_artifact

from service.http.app import create_app
from service.settings import Settings
from service.store import HEAD, Store
from sparsemod.errors import InvalidInput

YAML = """
name: from yaml
dataset: {name: digits}
network: {family: mlp}
objectives: [error, flash]
budgets: ["flash <= 64 KB"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, max_request_bytes=50_000, max_artifact_bytes=200_000)


@pytest.fixture
def http(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def store(http: TestClient) -> Store:
    found: Store = http.app.state.store  # type: ignore[attr-defined]
    return found


def create(http: TestClient, **changes: Any) -> int:
    answer = http.post("/experiments", json={"spec": {**SPEC, **changes}})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def error(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"type", "message", "field", "value", "allowed", "others"} and found["message"]
    return found


def test_the_server_starts_without_torch_and_ax() -> None:
    code = (
        "import sys, service.http.app, service.client.client; app = service.http.app.create_app; "
        "print([m for m in ('torch', 'ax', 'botorch', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_create_show_list(http: TestClient) -> None:
    answer = http.post("/experiments", json={"spec": SPEC})
    assert answer.status_code == 201 and answer.headers["location"] == "/experiments/1"
    view = answer.json()
    assert view["state"] == "running" and view["spec"]["objectives"] == ["error", "model_size"]
    assert http.get("/experiments/1").json() == view
    listed = http.get("/experiments", params={"limit": 1}).json()
    assert listed["total"] == 1 and listed["items"][0]["id"] == 1 and "spec" not in listed["items"][0]


def test_create_from_yaml(http: TestClient) -> None:
    answer = http.post("/experiments", content=YAML, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["budgets"] == {"flash": 65536.0}
    found = error(
        http.post("/experiments", content="a: [", headers={"content-type": "application/yaml"}), 422
    )
    assert found["type"] == "InvalidSpec"
    error(http.post("/experiments", content=b"\xff", headers={"content-type": "application/yaml"}), 422)


def test_a_key_makes_one_experiment(http: TestClient) -> None:
    first = http.post("/experiments", json={"spec": SPEC}, headers={"idempotency-key": "k"})
    again = http.post("/experiments", json={"spec": SPEC}, headers={"idempotency-key": "k"})
    assert (first.status_code, again.status_code) == (201, 201) and first.json() == again.json()
    other = http.post("/experiments", json={"spec": {**SPEC, "name": "x"}}, headers={"idempotency-key": "k"})
    assert error(other, 409)["type"] == "Conflict"


@pytest.mark.parametrize(
    ("change", "field", "allowed"),
    [
        ({"objectives": ["speed"]}, "objectives.0", "model_size"),
        ({"oops": 1}, "oops", "known here"),
        ({"dataset": {"name": "imagenet"}}, "dataset.name", "digits"),
        ({"network": {"family": "transformer"}}, "network.family", "cnn"),
        ({"network": {"family": "os:system"}}, "network.family", "code cannot be named here"),
        ({"dataset": {"name": "os:listdir"}}, "dataset.name", "code cannot be named here"),
        ({"space": {"no_such": [1, 2]}}, "space.no_such", "a parameter of family"),
        ({"network": {"family": "mlp", "options": {"no_such": 1}}}, "network.options.no_such", ""),
    ],
)
def test_a_bad_spec_names_the_field(http: TestClient, change: Any, field: str, allowed: str) -> None:
    found = error(http.post("/experiments", json={"spec": {**SPEC, **change}}), 422)
    assert found["field"] == field and allowed in found["allowed"]
    assert http.get("/experiments").json()["total"] == 0


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (("GET", "/nowhere"), 404, "NotFound"),
        (("GET", "/experiments/7"), 404, "NotFound"),
        (("GET", "/experiments/x"), 404, "NotFound"),
        (("GET", "/experiments/0"), 404, "NotFound"),
        (("DELETE", "/experiments"), 405, "MethodNotAllowed"),
        (("GET", "/experiments?limit=0"), 422, "InvalidInput"),
        (("GET", "/pareto/7"), 404, "NotFound"),
        (("GET", "/pareto/7/devices"), 404, "NotFound"),
        (("GET", "/pareto/7?format=xml"), 422, "InvalidInput"),
        (("GET", "/artifacts/sha256:" + "0" * 64), 404, "NotFound"),
        (("GET", "/artifacts/..%2f..%2fetc%2fpasswd"), 404, "NotFound"),
        (("GET", "/artifacts/passwd"), 422, "InvalidInput"),
        (("POST", "/claims"), 422, "InvalidInput"),
        (("POST", "/attempts/7/heartbeat", {"token": "t"}), 404, "NotFound"),
        (("POST", "/attempts/7/heartbeat", {"token": "t", "more": 1}), 422, "InvalidInput"),
        (("POST", "/experiments", [1]), 422, "InvalidInput"),
        (("POST", "/experiments", {"spec": []}), 422, "InvalidInput"),
    ],
)  # fmt: skip
def test_every_error_has_one_shape(http: TestClient, request_: Any, status: int, kind: str) -> None:
    method, path, *body = request_
    found = error(http.request(method, path, json=body[0]) if body else http.request(method, path), status)
    assert found["type"] == kind


def test_bodies_that_are_not_json(http: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/experiments", "/claims"):
        for content in (b"{", b"\xff\xfe", b"[" * 20_000):
            answer = http.post(path, content=content, headers=headers)
            error(answer, answer.status_code)
            assert answer.status_code in (400, 422)
    error(http.post("/experiments", content="{}", headers={"content-type": "text/plain"}), 422)


def test_a_crash_reveals_no_internals(
    http: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(store, "workers", crash)
    answer = http.get("/workers")
    assert error(answer, 500)["type"] == "ServerError" and "secret" not in answer.text


def test_bodies_beyond_their_limit(http: TestClient) -> None:
    assert error(http.post("/claims", content=b" " * 60_000), 413)["type"] == "TooLarge"
    chunks = (b" " * 10_000 for _ in range(10))
    headers = {"content-type": "application/json"}
    assert error(http.post("/experiments", content=chunks, headers=headers), 413)["type"] == "TooLarge"
    content = b"x" * 300_000
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    error(http.put(f"/artifacts/{digest}", content=content), 413)
    pieces = (content[i : i + 50_000] for i in range(0, 300_000, 50_000))
    error(http.put(f"/artifacts/{digest}", content=pieces), 413)
    assert http.get(f"/artifacts/{digest}").status_code == 404


def test_artifacts(http: TestClient, settings: Settings) -> None:
    content = b"weights" * 20_000
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    assert http.head(f"/artifacts/{digest}").status_code == 404
    for _ in range(2):
        answer = http.put(f"/artifacts/{digest}", content=content)
        assert answer.status_code == 200
        assert answer.json() == {"digest": digest, "size": len(content), "url": f"/artifacts/{digest}"}
    found = http.get(f"/artifacts/{digest}")
    assert found.content == content and found.headers["etag"] == f'"{digest}"'
    assert http.get(f"/artifacts/{digest}", headers={"range": "bytes=0-6"}).content == b"weights"
    head = http.head(f"/artifacts/{digest}")
    assert (
        head.status_code == 200
        and head.headers["content-length"] == str(len(content))
        and head.content == b""
    )
    wrong = error(http.put("/artifacts/sha256:" + "0" * 64, content=content), 422)
    assert wrong["type"] == "DigestMismatch" and digest in wrong["message"]
    files = [path for path in settings.artifacts_dir.rglob("*") if path.is_file()]
    assert [path.parent.name + path.name for path in files] == [digest.removeprefix("sha256:")]


def test_a_trial_from_claim_to_front(http: TestClient, store: Store) -> None:
    made = create(http)
    fill(store, made, 2)
    assert http.post("/claims", json={"worker": "w", "device": "cpu", "slots": 1}).status_code == 200
    claim = http.post("/claims", json={"worker": "w"}).json()
    assert claim["trial"] == 1 and claim["spec"]["name"] == "store test"
    assert http.post("/claims", json={"worker": "w"}).status_code == 204
    path, token = f"/attempts/{claim['attempt']}", claim["token"]
    beat = http.post(f"{path}/heartbeat", json={"token": token})
    assert beat.json() == {"stop": False, "lease_seconds": 60.0}
    points = [json.loads(p.model_dump_json()) for p in (point(1), point(2, math.nan))]
    log = [{"time": 1.0, "level": "info", "message": "hello"}]
    assert http.post(f"{path}/points", json={"token": token, "points": points, "log": log}).status_code == 200
    file = stored_artifact(store, b"w")
    assert http.post(f"{path}/checkpoint", json={"token": token, "digest": file.digest}).status_code == 204
    result = completed(artifacts=(file,)).model_dump(mode="json")
    stale = http.post(f"{path}/finish", json={"token": "other", "result": result})
    assert error(stale, 409)["type"] == "StaleLease"
    for _ in range(2):
        done = http.post(f"{path}/finish", json={"token": token, "result": result})
        assert done.json() == {"experiment": made, "trial": 1, "state": "completed", "next": None}
    base = f"/experiments/{made}/trials"
    trial = http.get(f"{base}/1").json()
    assert trial["state"] == "completed" and trial["artifacts"][0]["url"] == f"/artifacts/{file.digest}"
    assert [p["train_loss"] for p in http.get(f"{base}/1/curve").json()] == [1.0, "NaN"]
    assert http.get(f"{base}/1/log").json() == log
    page = http.get(base, params={"state": "completed", "sort": "error", "order": "desc"}).json()
    assert page["total"] == 1 and page["items"][0]["index"] == 1
    assert [point["trial"] for point in http.get(f"/pareto/{made}/devices").json()] == [1]
    front = http.get(f"/pareto/{made}").json()
    assert [p["index"] for p in front["points"]] == [1] and front["hypervolume"] > 0
    assert front["points"][0]["measurements"][1]["target"] == "stm32f446"
    csv = http.get(f"/pareto/{made}", params={"format": "csv"})
    assert csv.headers["content-type"].startswith("text/csv") and csv.text.splitlines()[1].startswith(
        "1,completed"
    )
    assert len(http.get(base, params={"format": "csv"}).text.splitlines()) == 3
    assert http.get("/workers").json()[0]["trials"] == [[made, 0]]
    events = http.get(f"/experiments/{made}/events", params={"after": 2}).json()
    assert [e["counter"] for e in events] == list(range(3, 3 + len(events)))


def test_stop_resume_extend_attach(http: TestClient) -> None:
    made = create(http)
    assert http.post(f"/experiments/{made}/stop").json()["state"] == "stopped"
    assert http.post(f"/experiments/{made}/resume").json()["state"] == "running"
    more = http.post(f"/experiments/{made}/extend", json={"rounds": {"r3": 3}, "budgets": {"memory": "8 KB"}})
    assert more.json()["spec"]["source"]["rounds"]["r3"]["trials"] == 5
    assert more.json()["spec"]["budgets"] == {"model_size": 1000.0, "working_memory": 8192.0}
    error(http.post(f"/experiments/{made}/extend", json={}), 422)
    error(http.post(f"/experiments/{made}/extend", json={"rounds": {"r9": 1}}), 422)
    problem = error(http.post(f"/experiments/{made}/trials", json={"parameters": {"no_such": 1}}), 422)
    assert problem["type"] == "InvalidCandidate" and problem["field"] == "parameters.no_such"


def test_an_attached_candidate_is_checked_against_the_space(http: TestClient) -> None:
    from sparsemod.data import declared
    from sparsemod.pipeline.problem import Problem
    from sparsemod.spec.experiment import ExperimentSpec

    made = create(http)
    info = declared("digits")
    assert info is not None
    space = Problem.of(ExperimentSpec.parse(SPEC), info).space
    candidate = space.complete({})
    answer = http.post(f"/experiments/{made}/trials", json={"parameters": candidate, "epochs": 4})
    assert answer.status_code == 201 and answer.headers["location"] == f"/experiments/{made}/trials/0"
    assert answer.json()["candidate"]["parameters"] == candidate and answer.json()["epochs"] == 4
    name = next(iter(candidate))
    found = error(
        http.post(f"/experiments/{made}/trials", json={"parameters": {**candidate, name: "x"}}), 422
    )
    assert found["field"] == f"parameters.{name}"
    stopped = http.post(f"/experiments/{made}/trials/0/stop")
    assert stopped.json()["state"] == "stopped"


def test_everything_is_there_after_a_restart(settings: Settings) -> None:
    with TestClient(create_app(settings)) as http:
        made = create(http)
        fill(http.app.state.store, made, 1)  # type: ignore[attr-defined]
        claim = http.post("/claims", json={"worker": "w"}).json()
    with TestClient(create_app(settings)) as http:
        body = {"token": claim["token"], "result": completed().model_dump(mode="json")}
        assert http.post(f"/attempts/{claim['attempt']}/finish", json=body).json()["state"] == "completed"
        assert http.get(f"/experiments/{made}").json()["counts"]["completed"] == 1


def test_pages_load_nothing_from_elsewhere(http: TestClient) -> None:
    for path in ("/", "/docs"):
        page = http.get(path)
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "://" not in page.text.replace("http://www.w3.org/2000/svg", "")
        assert len(page.text) > 1000


def test_health(http: TestClient) -> None:
    found = http.get("/health").json()
    assert found["status"] == "ok" and found["database"] == "sqlite" and found["schema_version"] == HEAD


def test_the_description_is_complete(http: TestClient) -> None:
    description = http.get("/openapi.json").json()
    assert "ExperimentSpec" in description["components"]["schemas"]
    tags = {tag["name"] for tag in description["tags"]}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (path, method)
            assert set(operation["tags"]) <= tags
            answer = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert answer == {"$ref": "#/components/schemas/ErrorAnswer"}, (path, method)
    text = json.dumps(description)
    assert "HTTPValidationError" not in text


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    monkeypatch.setenv("SPARSEMOD_IMPORTS", "json, string")
    monkeypatch.setenv("SPARSEMOD_LEASE_SECONDS", "5")
    found = Settings(data_dir=tmp_path)
    assert found.imports == ("json", "string") and found.lease_seconds == 5.0
    assert found.url == f"sqlite:///{tmp_path}/sparsemod.db"
    for host in ("127.0.0.1", "::1", "localhost"):
        found.check_host(host, closed=False)
    with pytest.raises(InvalidInput, match=r"sparsemod token create NAME --scope admin --data-dir"):
        found.check_host("0.0.0.0", closed=False)
    found.check_host("0.0.0.0", closed=True)
    with pytest.raises(InvalidInput, match="no_such_module"):
        create_app(Settings(data_dir=tmp_path, imports=("no_such_module",)))


def test_a_report_gets_the_next_trial_in_its_answer(http: TestClient, store: Store) -> None:
    made = create(http)
    fill(store, made, 2)
    claimed = http.post("/claims", json={"worker": "w", "request": "first"}).json()
    path = f"/attempts/{claimed['attempt']}/finish"
    report = {"token": claimed["token"], "result": completed().model_dump(mode="json")}
    done = http.post(path, json={**report, "next": {"worker": "w", "request": "second"}})
    following = done.json()["next"]
    assert done.status_code == 200 and following["trial"] == 1
    assert following["spec"] == claimed["spec"] and following == {**claimed, **following}
    # A mistake in the part about the next trial changes nothing.
    fence = {"token": following["token"], "result": report["result"]}
    wrong = http.post(f"/attempts/{following['attempt']}/finish", json={**fence, "next": {"worker": ""}})
    assert error(wrong, 422)["field"] == "next.worker"
    assert http.get(f"/experiments/{made}/trials/1").json()["state"] == "running"
