"""Metrics as Prometheus reads them, the audit trail, request ids, and log lines as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of, tokens
from support_store import SPEC, completed, fault, fill

from service.http import metrics as module
from service.http.app import create_app
from service.schemas.logins import Scope
from service.settings import Settings
from sparsemod.records import Failure, FailureKind, TrialResult, TrialState


@pytest.fixture
def scraped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that scrapes a server: name and labels -> value."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)

    def scrape(http: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        answer = http.get("/metrics")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return scrape


def of(found: Any, name: str, **labels: str) -> float:
    value: float = found[name, frozenset(labels.items())]
    return value


def test_metrics_count_queue_trials_failures_claims_and_requests(tmp_path: Path, scraped: Any) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path, min_free_bytes=0))) as http:
        store = store_of(http)
        made = http.post("/experiments", json={"spec": SPEC}).json()["id"]
        fill(store, made, 4)
        before = scraped(http)
        assert of(before, "sparsemod_queue_depth") == 4 and of(before, "sparsemod_claims_total") == 0
        claimed = http.post("/claims", json={"worker": "w"}).json()
        report = {
            "token": claimed["token"],
            "result": completed().model_dump(mode="json"),
            "next": {"worker": "w"},
        }
        second = http.post(f"/attempts/{claimed['attempt']}/finish", json=report).json()["next"]
        invalid = TrialResult(
            state=TrialState.FAILED, failure=Failure(kind=FailureKind.INVALID, message="cannot be built")
        )
        store.finish(second["attempt"], second["token"], invalid)
        third = store.claim("w")
        assert third is not None
        store.finish(third.attempt, third.token, fault())
        http.get("/nowhere/123")
        found = scraped(http)
        assert of(found, "sparsemod_queue_depth") == 2  # the fault is queued again
        assert of(found, "sparsemod_claims_total") == 2  # those over HTTP
        assert of(found, "sparsemod_trials", state="completed") == 1
        assert of(found, "sparsemod_failed_trials", kind="invalid") == 1
        assert of(found, "sparsemod_suggested_trials", origin="sobol") == 4
        assert (
            of(found, "sparsemod_attempts", state="failed") == 2
            and of(found, "sparsemod_attempts", state="lost") == 0
        )
        assert of(found, "sparsemod_disk_free_bytes") > 0 and of(found, "sparsemod_workers") == 1
        finish = {"method": "POST", "path": "/attempts/{attempt}/finish"}
        assert of(found, "sparsemod_requests_total", status="200", **finish) == 1
        assert of(found, "sparsemod_request_seconds_count", **finish) == 1
        paths = {dict(labels).get("path") for _, labels in found} - {None}
        assert module.__name__ and not any("123" in str(path) or f"/{made}" in str(path) for path in paths)


def test_a_lost_lease_is_counted(tmp_path: Path, scraped: Any) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path, min_free_bytes=0))) as http:
        store = store_of(http)
        fill(store, http.post("/experiments", json={"spec": SPEC}).json()["id"], 1)
        now = store.clock()
        assert store.claim("w") is not None
        store.lenient_until = 0.0
        store.clock = lambda: now + 1000.0
        store.reap()
        assert of(scraped(http), "sparsemod_attempts", state="lost") == 1


def test_the_audit_trail_names_who_changed_what(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store = store_of(http)
        secrets = tokens(store)
        write, admin = bearer(secrets[Scope.WRITE]), bearer(secrets[Scope.ADMIN])
        made = http.post(
            "/experiments", json={"spec": SPEC}, headers={**write, "X-Request-ID": "made-1"}
        ).json()["id"]
        http.post(f"/experiments/{made}/stop", headers=write)
        http.post(f"/experiments/{made}/stop", headers=bearer(secrets[Scope.READ]))  # refused: no entry
        http.post("/experiments", json={"spec": {}}, headers=write)  # refused: no entry
        http.delete(f"/experiments/{made}", headers=admin)
        assert http.get("/audit", headers=write).status_code == 403
        entries = http.get("/audit", headers=admin).json()
        login = store.token_login(secrets[Scope.WRITE])
        assert login is not None
        assert [entry["action"] for entry in entries] == [
            "DELETE /experiments/{experiment}", "POST /experiments/{experiment}/stop", "POST /experiments",
        ]  # fmt: skip
        first = entries[-1]
        assert (first["owner"], first["token"], first["request"]) == (login.owner, login.token, "made-1")
        assert (first["experiment"], first["target"]) == (made, f"/experiments/{made}")
        page = http.get("/audit", params={"before": entries[0]["id"], "limit": 1}, headers=admin).json()
        assert [entry["id"] for entry in page] == [entries[1]["id"]]
        assert http.get("/audit", params={"experiment": made + 1}, headers=admin).json() == []


def test_every_answer_has_a_request_id(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        assert http.get("/health", headers={"X-Request-ID": "mine.1"}).headers["x-request-id"] == "mine.1"
        for given in ("", "a b", "x" * 101, "<script>"):
            made = http.get("/nowhere", headers={"X-Request-ID": given}).headers["x-request-id"]
            assert len(made) == 32 and made != given


def test_logs_as_json_name_request_experiment_trial_and_attempt(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from starlette.testclient import TestClient
from support_store import SPEC, completed, fill
from service.cli.logs import LogFormat, configure_logs
from service.http.app import create_app
from service.settings import Settings
configure_logs(LogFormat.JSON)
with TestClient(create_app(Settings(data_dir={str(tmp_path)!r}, access_log=True, min_free_bytes=0))) as http:
    made = http.post("/experiments", json={{"spec": SPEC}}).json()["id"]
    fill(http.app.state.store, made, 1)
    claim = http.post("/claims", json={{"worker": "w"}}).json()
    report = {{"token": claim["token"], "result": completed().model_dump(mode="json")}}
    http.post(f"/attempts/{{claim['attempt']}}/finish", json=report)
    http.get(f"/experiments/{{made}}/trials/0", headers={{"X-Request-ID": "look"}})
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["route"] for line in lines if line["message"] == "request"] == [
        "/experiments", "/claims", "/attempts/{attempt}/finish", "/experiments/{experiment}/trials/{index}",
    ]  # fmt: skip
    assert lines[-2]["attempt"] == 1 and lines[-2]["status"] == 200
    last = lines[-1]
    assert (last["experiment"], last["trial"], last["request"], last["level"]) == (1, 0, "look", "info")
    assert "report" not in ran.stderr and '"token"' not in ran.stderr
