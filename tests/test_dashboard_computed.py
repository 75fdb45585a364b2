"""Results that the server computes in another process: graph, importance, and what happens when that fails."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from support_auth import open_app, store_of
from support_store import completed, fill, finish, spec

from service.processes.task_process import TaskDied, TaskFailed, TaskOverLimit


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with open_app(tmp_path, max_artifact_bytes=10_000_000) as client:
        yield client


def until(http: TestClient, path: str) -> Any:
    """Return the response when the result is computed."""
    for _ in range(600):
        answer = http.get(path)
        if answer.status_code != 202:
            return answer
        assert answer.json() == {"computing": True}
        time.sleep(0.1)
    raise AssertionError(f"{path}: still computing")


def test_graph_and_importance_are_computed_elsewhere(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsemod.data import declared
    from sparsemod.pipeline.problem import Problem

    store = store_of(http)
    made = store.create_experiment(spec(network={"family": "cnn"})).id
    info = declared("digits")
    assert info is not None
    space = Problem.of(spec(network={"family": "cnn"}), info).space
    rng = np.random.default_rng(1)
    path = f"/experiments/{made}"
    for _ in range(16):
        values = space.sample(rng)
        store.attach(made, values)
        # The error follows one parameter and nothing else.
        finish(store, completed(0.05 + 0.1 * values["blocks"], 100.0 * len(values)))  # type: ignore[operator]
    graph = until(http, f"{path}/trials/3/graph").json()
    layers = graph["layers"]
    assert (
        graph["input_shape"] == [1, 8, 8] and layers[-1]["shape"] == [10] and layers[-1]["kind"] == "linear"
    )
    assert graph["macs"] == sum(layer["macs"] for layer in layers) > 0
    assert graph["peak_bytes"] == max(sum(m["tensors"].values()) for m in graph["timeline"])
    assert {m["operator"] for m in graph["timeline"]} <= {layer["name"] for layer in layers}
    # The result is stored by now, also for other server processes: no process computes it again.
    monkeypatch.setattr(http.app.state.computed._process, "run", None)  # type: ignore[attr-defined]
    assert http.get(f"{path}/trials/3/graph").json() == graph
    monkeypatch.undo()
    found = until(http, f"{path}/importance").json()
    assert found["current"] and found["trials"] == 16 and found["reason"] is None
    assert next(iter(found["metrics"]["error"])) == "blocks" and set(found["metrics"]["error"]) == {
        p.name for p in space.free
    }
    # Until a newer result exists, the server returns the last one, marked as outdated.
    store.attach(made, space.sample(rng))
    finish(store)
    later = http.get(f"{path}/importance").json()
    assert later["current"] is False and later["metrics"] == found["metrics"]
    assert http.get(f"{path}/trials/77/graph").status_code == 404
    assert http.get("/experiments/77/importance").status_code == 404


def test_a_failed_computation_is_an_error(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(http)
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    computed = http.app.state.computed  # type: ignore[attr-defined]

    def run(function: str, task: Any) -> Any:
        raise TaskFailed(f"no {function.partition(':')[2]} today")

    monkeypatch.setattr(computed._process, "run", run)
    answer = until(http, f"/experiments/{made}/trials/0/graph")
    assert answer.status_code == 422 and "no graph today" in answer.json()["error"]["message"]


def test_a_failure_of_the_machine_is_reported_once_and_the_next_request_computes_again(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception counts: no failure may end the thread, which would leave all later requests waiting."""
    store = store_of(http)
    made = store.create_experiment(spec()).id
    fill(store, made, 1)
    path = f"/experiments/{made}/trials/0/graph"
    outcomes = iter(
        (
            TaskDied("the computation ended early: killed"),
            OSError(28, "disk full"),
            TaskOverLimit("took long"),
        )
    )

    def run(function: str, task: Any) -> Any:
        raise next(outcomes)

    computed = http.app.state.computed  # type: ignore[attr-defined]
    monkeypatch.setattr(computed._process, "run", run)
    for words in ("killed", "disk full", "took long", "took long"):
        answer = until(http, path)
        assert answer.status_code == 500 and words in answer.json()["error"]["message"]


@pytest.mark.long
def test_an_aborted_computation_is_an_error_and_the_next_one_runs(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(http)
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    started = subprocess.Popen
    lines = iter(["printf '{\"cont'", "exec /no/such/program"])

    def start(command: list[str], **options: Any) -> Any:
        line = next(lines, None)
        if line == "exec /no/such/program":
            return started(["/no/such/program"], **options)
        return started(command if line is None else ["/bin/sh", "-c", f"read task; {line}"], **options)

    monkeypatch.setattr("service.processes.task_process.subprocess.Popen", start)
    for index, reason in enumerate(("ended early: status 0", "No such file")):
        answer = until(http, f"/experiments/{made}/trials/{index}/graph")
        assert answer.status_code == 500 and reason in answer.json()["error"]["message"]
    # The fill's parameters are no network's: it is the process itself that answers.
    answer = until(http, f"/experiments/{made}/trials/2/graph")
    assert answer.status_code == 422 and "process" not in answer.json()["error"]["message"]
