"""Traces: spans of requests, transactions, suggestions and attempts, in one trace from the server to the worker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient
from support_store import completed, fill, point, spec
from test_service_client import Bridge

from service import telemetry
from service.client.client import Client
from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from service.suggester.suggester import Suggester
from service.worker.attempt import Attempt
from service.worker.attempt_settings import AttemptSettings, Ending
from sparsemod.errors import InvalidInput
from sparsemod.records import TrialResult


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    found, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    telemetry.record_with(provider)
    yield found
    telemetry.record_with(None)


def named(found: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in found.get_finished_spans() if span.name == name]


def test_requests_and_their_transactions(tmp_path: Path, exported: InMemorySpanExporter) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path, min_free_bytes=0))) as http:
        store: Store = http.app.state.store  # type: ignore[attr-defined]
        made = store.create_experiment(spec()).id
        outer = f"00-{'ab' * 16}-{'cd' * 8}-01"
        answer = http.get(f"/experiments/{made}", headers={"traceparent": outer, "X-Request-ID": "look"})
        assert answer.status_code == 200
        assert http.get("/experiments/7777/trials/0").status_code == 404
        assert http.get("/nowhere", headers={"traceparent": "nonsense"}).status_code == 404
        (request,) = named(exported, "GET /experiments/{experiment}")
        assert request.context.trace_id == int("ab" * 16, 16) and request.parent is not None
        assert request.attributes is not None
        assert dict(request.attributes) == {
            "http.request.method": "GET", "http.route": "/experiments/{experiment}", "http.response.status_code": 200,
            "sparsemod.request": "look", "sparsemod.experiment": made,
        }  # fmt: skip
        inside = [
            span
            for span in named(exported, "store read")
            if span.parent is not None and span.parent.span_id == request.context.span_id
        ]
        assert inside and inside[0].attributes == {"db.system.name": "sqlite"}
        assert named(exported, "store write")  # of the creation
        assert named(exported, "GET (no endpoint)")


def evaluate(attempt: Attempt, directory: Path) -> TrialResult:
    """Stand in for the child process: its messages, and a result."""
    directory.mkdir()
    child: Any = None
    for stage in ("train", "measure"):
        attempt._handle({"kind": "stage", "stage": stage}, child)
        attempt._handle({"kind": "point", "point": point(1).model_dump(mode="json")}, child)
    return completed()


def test_one_trace_from_the_claim_through_the_attempt(
    tmp_path: Path, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attempt, "_evaluate", evaluate)
    forks: Any = None
    with TestClient(create_app(Settings(data_dir=tmp_path / "data", min_free_bytes=0))) as http:
        store: Store = http.app.state.store  # type: ignore[attr-defined]
        fill(store, store.create_experiment(spec()).id, 2)
        with Client("http://127.0.0.1", transport=Bridge(http)) as client:
            claim = client.claim("w")
            assert claim is not None and claim.trace is not None
            settings = AttemptSettings(device="cpu", evaluate="", directory=tmp_path, stop_grace=1.0)
            attempt = Attempt(client, claim, forks, settings, lambda: ("w", "cpu", 1))
            assert attempt.run() is Ending.FINISHED
            assert attempt.next is not None and attempt.next.trace is not None
    (claimed,) = named(exported, "POST /claims")
    (ran,) = named(exported, "attempt")
    assert ran.parent is not None and ran.parent.span_id == claimed.context.span_id
    assert ran.attributes is not None and ran.attributes["sparsemod.ending"] == "finished"
    trace = [
        span for span in exported.get_finished_spans() if span.context.trace_id == claimed.context.trace_id
    ]
    names = {span.name for span in trace}
    assert names >= {
        "POST /claims", "attempt", "report", "POST /attempts/{attempt}/finish", "POST /attempts/{attempt}/points",
        "store write",
    }  # fmt: skip
    stages = [span for span in trace if span.name.startswith("stage ")]
    assert [stage.name for stage in stages] == ["stage train", "stage measure"]
    for stage in stages:
        assert stage.parent is not None and stage.parent.span_id == ran.context.span_id


def test_a_suggestion_is_a_span(
    tmp_path: Path, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suggester, "_request_suggestions", lambda *_: ("nothing is left", []))
    store = Store.open(f"sqlite:///{tmp_path / 'sparsemod.db'}")
    made = store.create_experiment(spec()).id
    suggester = Suggester(store, ahead=1)
    assert suggester.step()
    suggester.close()
    (found,) = named(exported, "suggest")
    assert found.attributes == {"sparsemod.experiment": made, "sparsemod.wanted": 1}
    store.close()


def test_an_error_marks_its_span(exported: InMemorySpanExporter) -> None:
    with pytest.raises(InvalidInput), telemetry.span("work", left_out=None, a_b=1):
        raise InvalidInput("x", 1, "2")
    (found,) = exported.get_finished_spans()
    assert not found.status.is_ok and found.attributes == {"a.b": 1}


def test_nothing_is_imported_without_the_setting(tmp_path: Path) -> None:
    code = f"""
import sys
from service import telemetry
from service.client.client import Client
from service.http.app import create_app
from service.settings import Settings
import service.worker.worker
telemetry.start("server")
assert not telemetry.enabled() and telemetry.parent_of_requests() is None and telemetry.open_span("x") is None
with telemetry.span("x") as found:
    assert found is None
create_app(Settings(data_dir={str(tmp_path)!r})).state.store.close()
Client("http://localhost").close()
from opentelemetry import trace
print([name for name in sys.modules if name.startswith("opentelemetry.sdk") or "otlp" in name])
"""
    environment = {name: value for name, value in os.environ.items() if name != telemetry.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(telemetry.VARIABLE, "perhaps")
    with pytest.raises(InvalidInput, match=r"SPARSEMOD_TELEMETRY = 'perhaps': true or false"):
        telemetry.start("server")
    monkeypatch.setenv(telemetry.VARIABLE, "true")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidInput, match=r"pip install 'sparsemod\[telemetry\]'"):
        telemetry.require()


def test_an_unfinished_trial_reports_no_trace_to_a_server_without_traces(tmp_path: Path) -> None:
    """Without the setting, a claim has no trace."""
    with TestClient(create_app(Settings(data_dir=tmp_path, min_free_bytes=0))) as http:
        store: Store = http.app.state.store  # type: ignore[attr-defined]
        fill(store, store.create_experiment(spec()).id, 2)
        claim = http.post("/claims", json={"worker": "w"}).json()
        assert claim["trace"] is None
        report = {
            "token": claim["token"],
            "result": completed().model_dump(mode="json"),
            "next": {"worker": "w"},
        }
        assert http.post(f"/attempts/{claim['attempt']}/finish", json=report).json()["next"]["trace"] is None
