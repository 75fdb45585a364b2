"""Event files for TensorBoard: the curves and results that a study wrote, read back by TensorBoard itself."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from test_cli_local import cli
from test_studies_shared import STUDY

from service.cli import main
from sparsemod.pipeline.local_run import LocalFolder
from sparsemod.records import Candidate, CurvePoint
from sparsemod.report.tensorboard import TensorBoardLog


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.long
def test_a_study_writes_curves_and_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(STUDY)
    printed = cli(capsys, "study", str(file), "--out", str(out), "--tensorboard")
    assert f"tensorboard --logdir {out / 'tensorboard'}" in printed
    trials = LocalFolder(out).trials
    names = sorted(path.name for path in (out / "tensorboard").iterdir())
    expected = [
        f"{t.index:04d}-{t.candidate.parameters['pruning_method']}-{t.candidate.parameters['sparsity']}"
        for t in trials
    ]
    assert names == expected and len(names) == 3
    for name, trial in zip(names, trials, strict=True):
        read = events(out / "tensorboard" / name)
        for curve in ("train_loss", "validation_loss", "validation_error", "learning_rate", "sparsity"):
            points = [(event.step, event.value) for event in read.Scalars(curve)]
            assert points == [
                (point.epoch, pytest.approx(getattr(point, curve), rel=1e-6)) for point in trial.result.curve
            ]
        for metric, value in trial.record.values().items():
            assert read.Scalars(f"result/{metric}")[-1].value == pytest.approx(value, rel=1e-6)


def test_a_trial_that_is_started_again_replaces_its_run(tmp_path: Path) -> None:
    log, candidate = TensorBoardLog(tmp_path), Candidate(parameters={}, origin="grid", round="grid")
    for loss in (2.0, 1.0):
        log.start(3, candidate)
        log.point(
            CurvePoint(
                epoch=1,
                train_loss=loss,
                validation_loss=loss,
                validation_error=0.5,
                learning_rate=0.1,
                seconds=1.0,
            )
        )
    log.close()
    assert len(list((tmp_path / "0003").iterdir())) == 1
    assert [event.value for event in events(tmp_path / "0003").Scalars("train_loss")] == [1.0]


def test_the_angle_to_the_true_gradient_is_a_curve(tmp_path: Path) -> None:
    log, candidate = TensorBoardLog(tmp_path), Candidate(parameters={}, origin="grid", round="grid")
    log.start(3, candidate)
    losses = {"train_loss": 1.0, "validation_loss": 1.0, "validation_error": 0.5, "learning_rate": 0.1}
    for epoch, angle in ((1, 88.0), (2, 80.0)):
        log.point(CurvePoint(epoch=epoch, angle=angle, **losses))
        told = events(tmp_path / "0003").Scalars("gradient_angle")  # while the trial runs
        assert [(event.step, event.value) for event in told][-1] == (epoch, angle)
    log.close()


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
    )
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    with pytest.raises(SystemExit):
        main(["study", str(file), "--out", str(tmp_path / "out"), "--tensorboard"])
    assert "pip install 'sparsemod[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "trials.jsonl").exists()
