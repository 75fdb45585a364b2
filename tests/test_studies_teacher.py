"""Studies whose networks learn from a teacher, and a grid of students that is killed and started again."""

from pathlib import Path
from typing import Any

import pytest

from sparsemod.pipeline import local_checkpoint
from sparsemod.pipeline import teacher as teachers
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.pipeline.reporter import Silent
from sparsemod.records import CurvePoint, TrialState
from sparsemod.sources.observation import Suggestion
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


class Killed(BaseException):
    """The end of the process."""


class Ending(Silent):
    """The process ends after the first epoch of the second trial."""

    trials = epochs = 0

    def start(self, index: int, suggestion: Suggestion) -> "Ending":
        self.trials, self.epochs = self.trials + 1, 0
        return self

    def point(self, point: CurvePoint) -> None:
        self.epochs += 1

    def should_stop(self) -> bool:
        if (self.trials, self.epochs) == (2, 1):
            raise Killed
        return False


@pytest.mark.long
def test_a_grid_of_students_that_is_killed_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_checkpoint, "SECONDS", 0.0)
    choices = ["SepHashed_0.5", "Generic_0.5"]
    spec = ExperimentSpec.parse(
        {
            **BASE,
            "network": {**BASE["network"], "substitutes": choices},
            "training": {"batch_size": 100, "teacher": TEACHER},
            "source": {"name": "grid", "values": {"substitute": choices}, "epochs": 2},
        }
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    LocalRun(spec, whole).run()
    teachers._TRAINED.clear()
    with pytest.raises(Killed):
        LocalRun(spec, killed).run(on_start=Ending().start)
    assert len(LocalFolder(killed).trials) == 1
    teachers._TRAINED.clear()  # the next process trains its teacher again
    LocalRun(spec, killed).run()
    assert losses(killed) == losses(whole) and len(losses(whole)) == 2
