"""Exports with several server processes: all see the queue, one takes over a killed server's job, and a job
that kills its process is abandoned."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from support_export import Wide, finished, quantized
from support_kill import Processes, store_at, until

from service.client.client import Client
from service.files.artifacts import ArtifactFiles
from service.http.app import create_app
from service.schemas.exports import ExportState
from service.settings import Settings
from service.store import Store
from service.store.exports import MOST_ATTEMPTS
from service.store.tables import export_jobs

# Seconds. No result: only how long a machine may be busy with other things before a test gives up.
PATIENCE = 200
pytestmark = pytest.mark.timeout(600)


def application(folder: Path, **changes: Any) -> TestClient:
    return TestClient(create_app(Settings(data_dir=folder, **changes)), raise_server_exceptions=False)


def trial(folder: Path, width: int = 4) -> tuple[Store, int]:
    """The store in `folder`, and an experiment with one finished trial."""
    store = store_at(folder)
    files = ArtifactFiles(Settings(data_dir=folder).artifacts_dir, 10**8)
    return store, finished(store, files, quantized(lambda: Wide(width)))[0]


def attempts(store: Store) -> list[tuple[str, int]]:
    """State of each job, and how often it was begun."""
    with store.engine.connect() as connection:
        columns = (export_jobs.c.state, export_jobs.c.attempts)
        return [(s, a) for s, a in connection.execute(sa.select(*columns).order_by(export_jobs.c.id))]


def deliveries(store: Store, experiment: int) -> list[int]:
    """Return the trials that got files, once for each export."""
    return [event.data["index"] for event in store.events(experiment) if event.data.get("files")]


@pytest.mark.long
def test_all_servers_show_queued_exports(tmp_path: Path) -> None:
    store, made = trial(tmp_path)
    second = finished(store, ArtifactFiles(tmp_path / "artifacts", 10**8), quantized(lambda: Wide(5)), made)[
        1
    ]
    one, two = application(tmp_path), application(tmp_path)
    path = f"/experiments/{made}/exports"

    def seen(http: TestClient) -> list[tuple[int, str]]:
        return [(item["trial"], item["state"]) for item in http.get(path).json()]

    # Neither makes any yet: without `with`, an application does not begin.
    asked = one.post(f"/experiments/{made}/trials/0/exports", json={"formats": ["onnx"]})
    assert asked.status_code == 202, asked.text
    assert two.get(path).json() == one.get(path).json() == asked.json()
    assert seen(two) == [(0, "queued")]
    again = two.post(f"/experiments/{made}/trials/0/exports", json={"formats": ["onnx"]})
    assert again.json() == asked.json() and attempts(store) == [("queued", 0)]
    with one:
        until(lambda: seen(two) == [(0, "running")], PATIENCE, "an export that runs")
    # A server that ends in order releases its jobs.
    assert attempts(store) == [("queued", 0)] and seen(two) == [(0, "queued")]
    two.post(f"/experiments/{made}/trials/{second}/exports", json={"formats": ["onnx"]})
    with application(tmp_path) as three, two:
        until(lambda: seen(three) == [(0, "done"), (second, "done")], PATIENCE, "both exports")
        assert seen(two) == seen(three)
    assert attempts(store) == [("done", 1)] * 2 and sorted(deliveries(store, made)) == [0, second]
    store.close()


@pytest.mark.long
def test_a_killed_servers_export_is_finished_by_the_next(tmp_path: Path) -> None:
    store, made = trial(tmp_path)
    processes = Processes(tmp_path, lease_seconds=2.0)
    try:
        processes.start_server()
        processes.answers()
        with Client(processes.url) as client:
            client.export(made, 0, ["c", "onnx"])
            until(
                lambda: {v.state for v in client.exports(made)} == {ExportState.RUNNING},
                PATIENCE,
                "a running export",
            )
            until(lambda: len(processes.left()) == 2, PATIENCE, "server and export")
        processes.kill("server")
        until(lambda: not processes.left(), PATIENCE, "the export to end with its server")
        assert attempts(store) == [("running", 1)]
        processes.start_server()
        processes.answers()
        with Client(processes.url) as client:
            until(
                lambda: {v.state for v in client.exports(made)} == {ExportState.DONE},
                PATIENCE,
                "the export",
            )
            found = client.exports(made, 0)
        assert [view.format for view in found] == ["c", "onnx"]
        assert all(view.report is not None and view.report.failure is None for view in found)
        assert attempts(store) == [("done", 2)] and deliveries(store, made) == [0]
        names = [(artifact.kind, artifact.name) for artifact in store.trial(made, 0).artifacts]
        assert len(set(names)) == len(names) == 8  # network, card of three, two formats with a report each
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.left()}\n{processes.logs()}") from error
    finally:
        processes.end()
        store.close()


DEADLY = """
import os, signal, sys
main = sys.modules["__main__"]
if getattr(main, "__spec__", None) is not None and main.__spec__.name == "service.processes.task_child":
    with open(os.environ["DEADLY"], "r+") as file:
        left = int(file.read())
        file.seek(0)
        file.write(str(left - 1).ljust(5))
    if left > 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""A module that kills the export that loads it, as often as a file says."""


@pytest.mark.long
def test_an_export_that_kills_its_process_is_tried_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_module.py").write_text(DEADLY)
    count = tmp_path / "count"
    monkeypatch.setenv("DEADLY", str(count))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    store, made = trial(tmp_path)
    path = f"/experiments/{made}/trials/0/exports"

    def outcome(http: TestClient) -> dict[str, Any]:
        assert http.post(path, json={"formats": ["onnx"]}).status_code == 202
        until(lambda: http.get(path).json()[0]["state"] in ("done", "failed"), PATIENCE, "an end")
        found: dict[str, Any] = http.get(path).json()[0]
        return found

    count.write_text("9")
    with application(tmp_path, imports=("deadly_module",)) as http:
        failed = outcome(http)
        assert failed["state"] == "failed" and failed["artifacts"] == []
        assert failed["report"]["failure"] == (
            f"the export ended early: {signal.strsignal(signal.SIGKILL)}; given up after {MOST_ATTEMPTS} attempts"
        )
        assert count.read_text().strip() == str(9 - MOST_ATTEMPTS)
        count.write_text("1")
        assert outcome(http)["state"] == "done"
    assert attempts(store) == [("done", 2)]
    with application(tmp_path, export_seconds=0.01) as http:
        late = outcome(http)["report"]["failure"]
        assert late == "the export took more than export_seconds = 0.01 s"
    assert attempts(store)[-1] == ("failed", 1)
    sys.modules.pop("deadly_module", None)
    store.close()


def test_a_server_whose_lease_is_lost_ends_its_export(tmp_path: Path) -> None:
    store, made = trial(tmp_path)
    path = f"/experiments/{made}/trials/0/exports"
    with application(tmp_path, lease_seconds=0.4) as http:
        http.post(path, json={"formats": ["onnx"]})
        until(children, PATIENCE, "a running export")
        store.delete_experiment(made)
        until(lambda: not children(), PATIENCE, "the export's process to end")
        assert http.get(path).status_code == 404
    store.close()


def children() -> list[str]:
    """Command lines of this process's children that write exports."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_text()
        except OSError:
            continue  # it has ended
        if parent == os.getpid() and "service.processes.task_child" in line:
            found.append(line)
    return found
