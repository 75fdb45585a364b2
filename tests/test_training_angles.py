"""The angle between a rule's gradient and the true one: the curve of a trial, in records, tables, pages and files."""

import json

import pytest
import torch
from torch import nn

from service.cli import trial_view
from sparsemod.interactive.trial import Trial
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import CurvePoint, Measurement
from sparsemod.report.combinations import combinations, summary_csv
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.training.rules.angles import Angles


def test_a_trial_has_the_curve_of_its_angles(tmp_path):
    layers = "conv 6 3, batch_norm, relu, max 2, fc 16, relu"
    spec = ExperimentSpec.parse(
        {
            "name": "angles", "dataset": {"name": "digits", "limit": 300}, "measure": {"device": "model"},
            "network": {"family": "sequence", "options": {"layers": layers}},
            "source": {"name": "grid", "values": {"rule": ["fa", "mem-dfa", "bp"]}, "epochs": 2},
            "training": {"rule": {"name": "dfa", "angle": True}, "batch_size": 50},
        }
    )  # fmt: skip
    run = LocalRun(spec, tmp_path)
    run.run()
    *feedback, exact = run.trials
    for trial in feedback:
        (found,) = [m for m in trial.result.measurements if m.metric == "gradient_angle"]
        assert [epoch for epoch, _ in found.by_epoch] == [1, 2] == [p.epoch for p in trial.result.curve]
        assert found.value == found.by_epoch[-1][1] and 0 < found.value < 120
        assert found.by_epoch[0][1] != found.by_epoch[1][1]
        assert found.unit == "degrees" and found.split == "train"
        assert f"{found.value:.1f}°" in Trial(None, spec, trial.record, ("error",))._repr_html_()
    assert "gradient_angle" not in exact.result.values()  # bp has the true gradient
    lines = summary_csv(combinations([trial.record for trial in run.trials])).splitlines()
    assert "mean gradient_angle" in lines[0]
    assert f"{feedback[0].result.value('gradient_angle'):.6g}" in lines[1]


def test_the_angle_is_that_of_two_gradients_and_leaves_the_module_as_it_was():
    module, angles = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), Angles()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def writes(weight, bias):
        def run():
            torch.rand(1)
            module[0].weight.grad, module[0].bias.grad = torch.full((1, 1), weight), torch.full((1,), bias)
            module[1].running_mean += 1

        return run

    drawn = torch.get_rng_state()
    for own, exact in (((2.0, 0.0), (3.0, 3.0)), ((0.0, 1.0), (5.0, 0.0)), ((-1.0, 0.0), (1.0, 0.0))):
        angles.measure(module, writes(*own), writes(*exact))
    assert angles.degrees == pytest.approx([45, 90, 180])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_curve_of_a_measurement_is_shown_and_exported():
    told = Measurement(
        metric="gradient_angle", value=70.25, unit="degrees", method="x", split="train",
        detail={"by_epoch": [[1, 88.5], [2, 70.25]]},
    )  # fmt: skip
    losses = {"train_loss": 1.0, "validation_loss": 1.0, "validation_error": 0.5, "learning_rate": 0.1}
    points = [CurvePoint(epoch=epoch, **losses) for epoch in (1, 2, 3)]
    head, *rows = trial_view.curve_csv(points, [told]).splitlines()
    assert head.endswith(",gradient_angle") and [row.rpartition(",")[2] for row in rows] == [
        "88.5",
        "70.25",
        "",
    ]
    shown = json.loads(trial_view.curve_json(points, [told]))
    assert [one.get("gradient_angle") for one in shown] == [88.5, 70.25, None]
    assert "88.5° to 70.2°" in str(trial_view._tracked(told))
