"""The angle between a rule's gradient and the true one: the curve of a trial, in records, tables, pages and files."""

import io
import json

import pytest
import sqlalchemy as sa
import torch
from rich.console import Console
from support_migrations import add_completed_trial, add_experiment, database_at
from torch import nn

from service.cli import trial_view
from service.cli.summary import print_summary
from service.store import Store
from sparsemod.data import load
from sparsemod.interactive.trial import Trial
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.trial import Silent, evaluate
from sparsemod.records import Candidate, CurvePoint, TrialState
from sparsemod.report.combinations import combinations, summary_csv
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.training.rules.angles import Angles

SPEC = ExperimentSpec.parse(
    {
        "name": "angles", "dataset": {"name": "digits", "limit": 300}, "measure": {"device": "model"},
        "network": {"family": "sequence", "options": {"layers": "conv 6 3, batch_norm, relu, max 2, fc 16, relu"}},
        "source": {"name": "grid", "values": {"rule": ["fa", "mem-dfa", "bp"]}, "epochs": 2},
        "training": {"rule": {"name": "dfa", "angle": True}, "batch_size": 50},
    }
)  # fmt: skip

ATTEMPT = """INSERT INTO attempts (id, trial_id, worker, device, token, state, started_at, heartbeat_at, expires_at)
    VALUES (1, 1, 'w', 'cpu', 't', 'completed', 1.0, 1.0, 1.0)"""
POINT = """INSERT INTO curve_points (attempt_id, epoch, train_loss, validation_loss, validation_error, learning_rate, sparsity, seconds)
    VALUES (1, :epoch, 1.0, 1.0, 0.5, 0.1, 0.0, 1.0)"""
MEASURED = """INSERT INTO measurements (trial_id, position, metric, value, unit, method, detail)
    VALUES (1, 0, 'gradient_angle', 70.25, 'degrees', 'x', :detail)"""


def test_a_trial_has_the_curve_of_its_angles(tmp_path):
    run = LocalRun(SPEC, tmp_path)
    run.run()
    *feedback, exact = run.trials
    for trial in feedback:
        (found,) = [m for m in trial.result.measurements if m.metric == "gradient_angle"]
        first, last = (point.angle for point in trial.result.curve)
        assert first != last == found.value and 0 < found.value < 120
        assert found.unit == "degrees" and found.split == "train"
        assert f"{found.value:.1f}°" in Trial(None, SPEC, trial.record, ("error",))._repr_html_()
    assert "gradient_angle" not in exact.result.values()  # bp has the true gradient
    assert [point.angle for point in exact.result.curve] == [None, None]
    lines = summary_csv(combinations([trial.record for trial in run.trials])).splitlines()
    assert "mean gradient_angle" in lines[0]
    value = feedback[0].result.value("gradient_angle")
    assert f"{value:.6g}" in lines[1]
    shown = io.StringIO()
    print_summary(Console(file=shown, width=200), [trial.record for trial in run.trials], ("error",))
    assert "angle to the true gradient" in shown.getvalue() and f"{value:.1f}°" in shown.getvalue()


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


def test_angles_are_reported_while_a_trial_trains_and_stay_when_it_is_stopped():
    seen = []

    class Stops(Silent):
        def point(self, point):
            seen.append(point)

        def should_stop(self):
            return len(seen) == 2

    candidate = Candidate(parameters={"rule": "fa"}, origin="grid", round="grid")
    result = evaluate(SPEC, candidate, epochs=5, seed=3, data=load(SPEC.dataset), reporter=Stops())
    assert result.state is TrialState.STOPPED and list(result.curve) == seen
    assert len(seen) == 2 and all(0 < point.angle < 120 for point in seen)


def test_the_curve_of_the_angles_is_shown_and_exported():
    losses = {"train_loss": 1.0, "validation_loss": 1.0, "validation_error": 0.5, "learning_rate": 0.1}
    points = [CurvePoint(epoch=e, angle=a, **losses) for e, a in ((1, 88.5), (2, 70.25), (3, None))]
    head, *rows = trial_view.curve_csv(points).splitlines()
    assert head.endswith(",angle") and [row.rpartition(",")[2] for row in rows] == ["88.5", "70.25", ""]
    assert [one["angle"] for one in json.loads(trial_view.curve_json(points))] == [88.5, 70.25, None]
    assert "88.5° to 70.2°" in str(trial_view._angles([88.5, 70.25]))


def test_angles_that_an_earlier_release_stored_become_part_of_the_curve(tmp_path):
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with database_at(url, "0013") as connection:
        add_experiment(connection, 1, SPEC.to_dict())
        add_completed_trial(connection, 1)
        connection.execute(sa.text(ATTEMPT))
        for epoch in (1, 2):
            connection.execute(sa.text(POINT), {"epoch": epoch})
        detail = {"by_epoch": [[1, 88.5], [2, 70.25]], "other": 1}
        connection.execute(sa.text(MEASURED), {"detail": json.dumps(detail)})
    store = Store.open(url)
    assert [point.angle for point in store.curve(1, 0)] == [88.5, 70.25]
    (found,) = store.trial(1, 0).measurements
    assert found.value == 70.25 and found.detail == {"other": 1}
    store.close()
