"""A local run that is killed in the middle of a training continues with its next epoch, to the same result."""

from dataclasses import replace

import pytest

from sparsemod.pipeline import local_checkpoint
from sparsemod.pipeline.local_checkpoint import TrialCheckpoint
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.reporter import Silent
from sparsemod.records import Candidate, TrialState
from sparsemod.sources.observation import Suggestion
from sparsemod.spec.experiment import ExperimentSpec

EPOCHS = 5


class Killed(BaseException):
    """The end of the process."""


class Watching(Silent):
    """Notes the epochs; the process ends in the middle of epoch `until` + 1."""

    def __init__(self, until=EPOCHS):
        self.epochs, self._until = [], until

    def point(self, point):
        self.epochs.append(point.epoch)

    def should_stop(self):
        if len(self.epochs) == self._until:
            raise Killed
        return False


def small():
    return ExperimentSpec.parse(
        {
            "name": "small", "dataset": {"name": "digits", "limit": 300}, "measure": {"device": "model"},
            "network": {"family": "mlp", "options": {"max_layers": 1, "max_width": 16}},
            "source": {"name": "grid", "values": {"learning_rate": [0.01]}, "epochs": EPOCHS},
        }
    )  # fmt: skip


def files(folder):
    return sorted(path.name for path in folder.iterdir() if "checkpoint" in path.name)


def test_a_killed_training_continues_with_its_next_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(local_checkpoint, "SECONDS", 0.0)
    whole = LocalRun(small(), tmp_path / "whole")
    whole.run()
    broken, first = LocalRun(small(), tmp_path / "broken"), Watching(until=3)
    with pytest.raises(Killed):
        broken.run(on_start=lambda *_: first)
    assert first.epochs == [1, 2, 3] and len(files(tmp_path / "broken")) == 1
    again, second = LocalRun(small(), tmp_path / "broken"), Watching()
    again.run(on_start=lambda *_: second)
    assert second.epochs == [4, 5] and files(tmp_path / "broken") == []
    one, other = (run.trials[0].result for run in (whole, again))
    assert other.state is TrialState.COMPLETED and other.artifacts == one.artifacts
    assert [m.value for m in other.measurements if m.metric != "latency"] == [
        m.value for m in one.measurements if m.metric != "latency"
    ]
    assert [point.validation_loss for point in other.curve] == [point.validation_loss for point in one.curve]


def test_short_trials_write_no_checkpoint(tmp_path):
    run, seen = LocalRun(small(), tmp_path), Watching(until=3)
    with pytest.raises(Killed):
        run.run(on_start=lambda *_: seen)
    assert files(tmp_path) == []


def test_a_checkpoint_belongs_to_one_candidate_its_epochs_and_its_seed(tmp_path):
    suggestion = Suggestion(Candidate(parameters={"a": 1}, origin="grid", round="grid"), epochs=3)
    TrialCheckpoint(tmp_path, 4, suggestion, 7).write(b"state")
    assert TrialCheckpoint(tmp_path, 4, suggestion, 7).read() == b"state"
    other = Suggestion(Candidate(parameters={"a": 2}, origin="grid", round="grid"), epochs=3)
    for changed in ((other, 7), (replace(suggestion, epochs=4), 7), (suggestion, 8)):
        assert TrialCheckpoint(tmp_path, 4, *changed).read() is None
    TrialCheckpoint(tmp_path, 41, suggestion, 7).write(b"another trial")
    TrialCheckpoint(tmp_path, 4, other, 7).remove()
    assert TrialCheckpoint(tmp_path, 4, suggestion, 7).read() is None
    assert TrialCheckpoint(tmp_path, 41, suggestion, 7).read() == b"another trial"
