"""One spec by `sparsemod run`, by server + suggester + worker, and by `evaluate`: the same candidates, seeds, numbers and files."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support_kill import Processes, stop_gently, store_at, until
from support_serve import local_trials
from support_trials import tiny_data, tiny_spec

from service.client.client import Client
from service.schemas.trials import ExperimentState, TrialView
from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.trial import ParentWeights, evaluate
from sparsemod.records import Artifact, CurvePoint, TrialState
from sparsemod.spec.experiment import ExperimentSpec

PATIENCE = 200
"""Seconds. No result: only how long a machine may be busy with other things before a test gives up."""

pytestmark = pytest.mark.timeout(900)

SPEC = tiny_spec(
    "cnn",
    rounds={"r1": {"trials": 4, "epochs": 1}, "r2": {"trials": 2, "epochs": 1}, "r3": {"trials": 2, "epochs": 1}},
    pruning={"method": "magnitude"},
    space={"learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}, "sparsity": {"low": 0.0, "high": 0.6}},
    budgets=["size <= 1 KB"],
    search={"in_step": True},
    seed=11,
)  # fmt: skip


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finished]]:
    """`sparsemod run`: its folder and its trials."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "spec.json").write_text(json.dumps(SPEC.to_dict()))
    out = folder / "results"
    command = [sys.executable, "-m", "service.cli", "run", folder / "spec.json", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, local_trials(out)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TrialView], list[list[CurvePoint]]]:
    """The same by the service with two workers: its trials and their learning curves."""
    folder = tmp_path_factory.mktemp("served")
    processes = Processes(folder, lease_seconds=600.0)
    store = store_at(folder)
    try:
        processes.start_server()
        for name in ("worker", "second"):
            processes.start_worker(name)
        processes.start("suggester", "suggester", "--data-dir", str(folder))
        identity = store.create_experiment(ExperimentSpec.parse(SPEC.to_dict())).id
        until(lambda: store.experiment(identity).state is not ExperimentState.RUNNING, PATIENCE, "the end")
        with Client(processes.url) as client:
            trials = [client.trial(identity, record.index) for record in store.observations(identity)]
            curves = [client.curve(identity, trial.index) for trial in trials]
        for name in ("worker", "second", "suggester", "server"):
            stop_gently(processes.running.pop(name))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.logs()}") from error
    finally:
        processes.end()
    return trials, curves


def files(artifacts: Iterable[Artifact]) -> set[tuple[str, str, int, str]]:
    return {(a.kind, a.digest, a.size, a.name) for a in artifacts}


def without_seconds(points: Any) -> list[CurvePoint]:
    return [point.model_copy(update={"seconds": 0.0}) for point in points]


@pytest.mark.long
def test_the_service_finds_the_trials_of_a_local_run(local: Any, served: Any) -> None:
    _, here = local
    trials, curves = served
    assert [t.candidate for t in trials] == [t.candidate for t in here]
    assert {t.candidate.origin for t in here if t.result.state is TrialState.COMPLETED} == {
        "sobol", "gp", "morphism",
    }  # fmt: skip
    assert any(t.result.state is TrialState.INFEASIBLE for t in here)
    assert any(t.candidate.parent is not None for t in here)
    for there, curve, own in zip(trials, curves, here, strict=True):
        where = f"trial {own.index}"
        assert (there.index, there.seed, there.epochs) == (own.index, own.seed, own.planned_epochs), where
        assert there.state is own.result.state, where
        assert there.measurements == own.result.measurements, where
        assert there.trained_epochs == own.result.epochs, where
        assert (there.notes, there.failure) == (own.result.notes, own.result.failure), where
        assert without_seconds(curve) == without_seconds(own.result.curve), where
        assert files(there.artifacts) == files(own.result.artifacts), where
        assert set(there.seconds) == set(own.result.seconds), where


@pytest.mark.long
def test_evaluate_finds_it_too(local: Any, tmp_path: Path) -> None:
    folder, here = local
    for own in here:
        if own.result.state is not TrialState.COMPLETED:
            continue
        parent = None
        if own.candidate.parent is not None:
            source = here[own.candidate.parent]
            digest = next(a.digest for a in source.result.artifacts if a.kind == "weights")
            state = (folder / "artifacts" / digest.removeprefix("sha256:")).read_bytes()
            parent = ParentWeights(source.candidate.parameters, state, source.result.epochs)
        found = evaluate(
            SPEC, own.candidate, epochs=own.planned_epochs, seed=own.seed, data=tiny_data(SPEC), parent=parent, workdir=tmp_path
        )  # fmt: skip
        assert found.measurements == own.result.measurements
        assert found.artifacts == own.result.artifacts
        assert without_seconds(found.curve) == without_seconds(own.result.curve)
