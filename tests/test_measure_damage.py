"""Damage beyond the error: calibration by hand, corruptions, classes, the stage, and the tables of the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_trials import tiny_data
from test_report_prunability import ROWS
from test_sources_study import spec

from sparsemod.measure.damage import blurred, calibration_error, class_damage, corruptions
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.quantization import IntegerNetwork
from sparsemod.records import Measurement, TrialRecord
from sparsemod.report.prunability import curves, curves_figure, series_of
from sparsemod.report.prunability_page import write_prunability
from sparsemod.report.study_details import budgets_csv, curve_points, damage_csv, damages, layer_budgets
from sparsemod.training.resident import fitted
from tests.support_tasks import PARAMETERS, TASKS, Trained, spec_of, trained


def test_calibration_by_hand() -> None:
    """Confidences 0.9 (right), 0.9 (wrong), 0.6 (right): |0.9 - 0.5| x 2/3 + |0.6 - 1| x 1/3 = 0.4."""
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert calibration_error(np.log(shares), np.array([0, 1, 1]), bins=10) == pytest.approx(0.4)
    certain = np.array([[50.0, 0.0], [0.0, 50.0]])
    assert calibration_error(certain, np.array([0, 1])) == pytest.approx(0.0)
    assert calibration_error(certain + 1e4, np.array([1, 0])) == pytest.approx(1.0), "no overflow"


def test_corruptions() -> None:
    x = np.random.default_rng(0).normal(size=(50, 2, 6, 6)).astype(np.float32)
    found = corruptions(x)
    assert set(found) == {"noise", "blur", "contrast"}
    assert (found["noise"][0] - x).std() == pytest.approx(0.5 * x.std(), rel=0.05)
    assert found["contrast"][0].std((2, 3)) == pytest.approx(0.4 * x.std((2, 3)), rel=1e-4)
    assert found["contrast"][0].mean((2, 3)) == pytest.approx(x.mean((2, 3)), abs=1e-6)
    assert blurred(x)[0, 1, 2, 3] == pytest.approx(x[0, 1, 1:4, 2:5].mean(), rel=1e-5)
    assert all(part.dtype == np.float32 for part, _ in found.values())
    assert set(corruptions(x[:, 0, 0])) == {"noise"}


def test_the_worst_class_is_named() -> None:
    answers = np.eye(3, dtype=np.float32)[[0, 0, 1, 0]]
    found = {m.metric: m for m in class_damage(answers, np.array([0, 0, 1, 2]))}
    assert found["worst_class_error"].value == 1.0 and "class 2" in found["worst_class_error"].method
    assert found["worst_class_error"].detail["classes"] == {0: 0.0, 1: 0.0, 2: 1.0}
    assert found["calibration_error"].split == "validation"


def with_layers(row: TrialRecord, layers: dict[str, int], noise: float) -> TrialRecord:
    kept = [m for m in row.measurements if m.metric != "nonzeros"]
    count = Measurement(
        metric="nonzeros", value=sum(layers.values()), unit="", method="", detail={"layers": layers}
    )
    harm = Measurement(metric="noise_error", value=noise, unit="", method="")
    return row.model_copy(update={"measurements": (*kept, count, harm)})


def test_layers_and_damage_by_hand() -> None:
    whole = with_layers(ROWS[0], {"a": 100, "b": 40}, 0.3)
    chain = with_layers(
        next(r for r in ROWS if r.candidate.parent == 0), {"a.0": 10, "a.1": 15, "b": 20}, 0.5
    )
    series = series_of([whole, chain])
    a, b = layer_budgets(series)
    assert (a.layer, a.weights, a.share) == ("a", 25, 0.25) and (b.weights, b.share) == (20, 0.5)
    assert budgets_csv([a]).splitlines()[1].split(",")[2:] == ["a", "25.0", "0.25", "0.75"]
    reference, pruned = damages(series)
    assert reference.metrics["noise_error"] == 0.3 and reference.method == "none"
    assert pruned.metrics["noise_error"] == 0.5 and pruned.trials == (chain.index,)
    assert damage_csv([pruned]).splitlines()[0] == "method,sparsity,networks,error,noise_error"
    assert damages(series_of(ROWS)) == () and layer_budgets(series_of(ROWS)) == ()


def test_a_study_reports_both(tmp_path: Path) -> None:
    plain = spec(
        methods=["magnitude", "SVDNet"],
        spacing=[{"type": "manual", "values": [0.4]}],
        epochs=1,
        retrain_epochs=1,
    ).to_dict()
    plain["pipeline"] = [*plain["pipeline"], {"name": "damage"}]
    run = LocalRun(type(spec(methods=["svd"])).parse(plain), tmp_path / "run")
    run.run()
    rows = [trial.record for trial in run.trials]
    assert rows[1].values().keys() >= {
        "worst_class_error",
        "calibration_error",
        "noise_error",
        "blur_error",
        "contrast_error",
        "loss",
    }
    network = IntegerNetwork.load(run.artifact(rows[1].artifact("network").digest))  # type: ignore[union-attr]
    split = tiny_data(spec(methods=["svd"])).validation
    logits = network.logits(split.x).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    by_hand = -np.log(chances[np.arange(len(split)), split.y]).mean()
    assert rows[1].values()["loss"] == pytest.approx(by_hand, rel=1e-4)
    noisy = network.error(corruptions(split.x)["noise"][0], split.y)
    assert rows[1].values()["noise_error"] == pytest.approx(noisy)
    raw = curves(series_of(rows))
    assert raw["magnitude/loss"].tolist() == [[rows[0].values()["loss"], rows[1].values()["loss"]]]
    figure = curves_figure("study", series_of(rows))
    words = [axis.get_ylabel() for axis in figure.axes]
    assert words[0] == "error of the integer network, %" and words[5] == "loss of the integer network"
    assert len(figure.axes) == 10, "error and loss against five costs"
    drawn = figure.axes[6].get_lines()[0].get_xydata()
    assert drawn.tolist() == [[r.values()["macs"], r.values()["loss"]] for r in rows[:2]]
    written = write_prunability(tmp_path, "study", rows)
    text = written["prunability.html"].read_text()
    assert "Damage beyond the error" in text and "features.b1_l1.conv" in text and "contrast error" in text
    budgets = layer_budgets(series_of(rows))
    for method in ("magnitude", "SVDNet"):
        mine = [b for b in budgets if b.method == method]
        assert len(mine) == len({b.layer for b in mine}) > 2
        (row,) = [r for r in rows if r.candidate.parameters["pruning_method"] == method]
        assert sum(b.weights for b in mine) == row.values()["nonzeros"], "no layer is lost"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_measures_its_loss_and_its_metric_on_corrupted_samples(task: str, tmp_path: Path) -> None:
    stages = [*spec(methods=["svd"]).to_dict()["pipeline"], {"name": "damage"}]
    found = trained(
        task, tmp_path, epochs=1, pipeline=stages, measure={"device": "model"}, objectives=["error"]
    )
    assert found.result.state == "completed", found.result.failure
    values, quality = found.result.values(), found.spec.quality
    assert {quality, "loss", f"noise_{quality}"} <= values.keys()
    assert ("worst_class_error" in values) == (task == "classification")
    assert (f"blur_{quality}" in values) == (task == "per-pixel")
    if task == "regression":
        split, network = found.data.validation, found.network
        wanted = ((network.logits(split.x) - _targets(found)) ** 2).mean()
        assert values["loss"] == pytest.approx(float(wanted), rel=1e-4)


def _targets(found: Trained) -> np.ndarray[Any, Any]:
    """The validation targets as the loss of a regression gets them."""
    split = found.data.validation
    task = fitted(found.spec.task, found.data)
    return np.asarray(task.targets(*split.tensors()))


@pytest.mark.long
def test_a_report_of_another_task_has_its_metric(tmp_path: Path) -> None:
    told = spec_of(
        "regression",
        tmp_path,
        space={name: {"type": "fixed", "value": value} for name, value in PARAMETERS["mlp"].items()},
        pipeline=[*spec(methods=["svd"]).to_dict()["pipeline"], {"name": "damage"}],
        pruning={"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.0}},
        measure={"device": "model"},
        objectives=["error"],
        source={
            "name": "study", "methods": ["magnitude"], "spacing": [{"type": "manual", "values": [0.4]}],
            "epochs": 1, "retrain_epochs": 1,
        },
    )  # fmt: skip
    run = LocalRun(told, tmp_path / "run")
    run.run()
    rows = [trial.record for trial in run.trials]
    values = rows[1].values()
    text = write_prunability(tmp_path, "study", rows)["prunability.html"].read_text()
    assert "noise rmse" in text and f"<td>{values['rmse']:.4g}</td>" in text
    assert {"rmse", "loss"} <= curve_points(series_of(rows))[0].mean.keys()
