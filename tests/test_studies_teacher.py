"""Studies whose networks learn from a teacher, and a grid of students whose process is killed and started again."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sparsemod.pipeline import teacher as teachers
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec

TEACHER = {"network": "wrn-10-0.125", "epochs": 1, "alpha": 0.5, "beta": 10.0}
BASE: dict[str, Any] = {
    "name": "taught",
    "dataset": {"name": "digits", "limit": 300},
    "network": {"family": "zoo", "options": {"networks": "wrn-10-0.125"}},
    "measure": {"device": "model"},
}


def losses(folder: Path) -> list[tuple[Any, ...]]:
    """Return substitute or method, losses by epoch, and the digests of the files of each trial."""
    found = []
    for trial in LocalFolder(folder).trials:
        assert trial.result.state is TrialState.COMPLETED, trial.result.failure
        names = [trial.candidate.parameters.get(name) for name in ("substitute", "pruning_method")]
        curve = [(point.epoch, point.train_loss, point.validation_loss) for point in trial.result.curve]
        files = sorted((one.name, one.digest) for one in trial.result.artifacts)
        found.append((*names, curve, files))
    return found


def test_the_networks_of_a_study_learn_from_a_teacher(tmp_path: Path) -> None:
    runs = {}
    for name, keys in (("alone", {}), ("taught", {"teacher": TEACHER})):
        teachers._TRAINED.clear()
        spec = ExperimentSpec.parse(
            {
                **BASE,
                "pruning": {"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.0}},
                "training": {"batch_size": 100, **keys},
                "source": {
                    "name": "study", "methods": ["magnitude"], "nets": 1, "epochs": 1, "retrain_epochs": 1,
                    "spacing": [{"type": "manual", "values": [0.5]}],
                },
            }
        )  # fmt: skip
        LocalRun(spec, tmp_path / name).run()
        assert len(teachers._TRAINED) == len(keys), "one teacher for reference and pruned network"
        runs[name] = losses(tmp_path / name)
    (alone, pruned), (taught, pruned_taught) = runs["alone"], runs["taught"]
    # The second network of each begins from the first one's weights, with one more epoch.
    assert alone[2] != taught[2] and pruned[2] != pruned_taught[2]


@pytest.mark.long
def test_a_killed_grid_of_students_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    spec = {
        **BASE,
        "network": {**BASE["network"], "substitutes": ["SepHashed_0.5", "Generic_0.5"]},
        "training": {"batch_size": 100, "teacher": TEACHER},
        "source": {
            "name": "grid", "values": {"substitute": ["SepHashed_0.5", "Generic_0.5"]}, "epochs": 2,
        },
    }  # fmt: skip
    file, whole, killed = tmp_path / "grid.yaml", tmp_path / "whole", tmp_path / "killed"
    file.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "service.cli", "run", str(file), "--out"]
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL)
    done = killed / "trials.jsonl"
    while process.poll() is None and not done.exists():  # a spot machine is taken away after the first trial
        time.sleep(0.05)
    process.kill()
    process.wait()
    subprocess.run([*command, str(killed)], check=True, capture_output=True)
    assert losses(killed) == losses(whole) and len(losses(whole)) == 2
