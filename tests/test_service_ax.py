"""An experiment as Ax's JSON: over HTTP, opened with Ax's own client."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from support_kill import until
from support_store import SPEC, Suggestion, completed, fault, fill

from service.http.app import create_app
from service.settings import Settings
from sparsemod.data import declared
from sparsemod.errors import ServerUnavailable, SparsemodError
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Candidate
from sparsemod.spec.experiment import ExperimentSpec

_OPEN = """
import sys, warnings
warnings.simplefilter("ignore")
from ax.api.client import Client
client = Client.load_from_json_file(sys.argv[1])
trials = client._experiment.trials
print(client._experiment.name, [trial.status.name for trial in trials.values()], [t.run_metadata["sparsemod_index"] for t in trials.values()])
"""


@pytest.mark.long
def test_the_export_opens_with_ax(tmp_path: Path) -> None:
    info = declared("digits")
    assert info is not None
    space = Problem.of(ExperimentSpec.parse({**SPEC, "limits": {"attempts": 1}}), info).space
    rng = np.random.default_rng(0)
    with TestClient(create_app(Settings(data_dir=tmp_path)), raise_server_exceptions=False) as http:
        assert http.get("/experiments/1/ax").status_code == 404
        made = http.post("/experiments", json={"spec": {**SPEC, "limits": {"attempts": 1}}}).json()["id"]
        store = http.app.state.store  # type: ignore[attr-defined]
        drawn = [Candidate(parameters=space.sample(rng), origin="sobol", round="r1") for _ in range(4)]
        fill(
            store,
            made,
            [
                Suggestion(drawn[0]),
                Suggestion(drawn[1]),
                Suggestion(drawn[2], costs={"model_size": 5000.0}, feasible=False),
                Suggestion(drawn[3]),
            ],
        )
        for result in (completed(), fault()):
            claim = store.claim("w")
            store.finish(claim.attempt, claim.token, result)
        answer = http.get(f"/experiments/{made}/ax")
        assert answer.status_code == 200, answer.text
        assert http.get(f"/experiments/{made}/ax").content == answer.content  # kept
    file = tmp_path / "ax.json"
    file.write_bytes(answer.content)
    opened = subprocess.run(
        [sys.executable, "-c", _OPEN, str(file)], check=True, capture_output=True, text=True
    )
    expected = "store test ['COMPLETED', 'FAILED', 'ABANDONED', 'RUNNING'] [0, 1, 2, 3]"
    assert opened.stdout.strip().splitlines()[-1] == expected


@pytest.mark.long
def test_a_failed_conversion_gives_the_reason(tmp_path: Path) -> None:
    from service.jobs.ax_snapshot import AxExport
    from service.store import open_store

    settings = Settings(data_dir=tmp_path)
    store = open_store(settings)
    with pytest.raises(SparsemodError, match="the conversion for Ax failed"):
        AxExport(store, settings)._run({})
    store.close()


def test_conversions_leave_threads_for_other_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    ax, store = app.state.ax, app.state.store
    made = [store.create_experiment(ExperimentSpec.parse(SPEC)).id for _ in range(6)]
    begun, go_on = threading.Semaphore(0), threading.Event()
    monkeypatch.setattr(ax, "_run", lambda task: (begun.release(), go_on.wait(60), b"{}")[2])
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(ax.export, identity) for identity in made]
        assert begun.acquire(timeout=60)
        until(lambda: sum(answer.done() for answer in answers) == 2, 60, "two refusals")
        go_on.set()
    errors = [answer.exception() for answer in answers]
    assert sum(isinstance(error, ServerUnavailable) for error in errors) == 2 and errors.count(None) == 4
    assert [ax.export(identity) for identity in made] == [b"{}"] * 6
    store.close()
