"""The task of a spec: the loss, the metric and the objectives that follow from it, and its mistakes."""

import numpy as np
import pytest

from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.pipeline.problem import Problem
from sparsemod.quality import Quality
from sparsemod.records import DataInfo
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import LOSSES, METRICS, TASKS
from sparsemod.spec.task_choice import check_task
from sparsemod.units import METRICS as UNITS
from sparsemod.units import TRAINED

MINIMAL = {"dataset": {"name": "digits"}, "network": {"family": "mlp"}}


def parse(**keys):
    return ExperimentSpec.parse({**MINIMAL, **keys})


def test_a_spec_without_a_task_is_a_classification():
    spec = parse()
    assert spec.task == TASKS.config("classification")
    assert spec.quality == "error" == spec.objectives[0]
    assert (spec.training.loss.name, spec.training.metric.name) == ("cross_entropy", "error")


@pytest.mark.parametrize("task", TASKS.names())
def test_error_stands_for_the_metric_of_the_task(task):
    spec = parse(
        task=task, objectives=["error", "flash"], budgets=["error <= 0.5", "flash <= 64 KB"], scales={"error": "linear"}
    )  # fmt: skip
    key = METRICS.config_of(TASKS.config_of(task).metric).key
    assert spec.objectives == (key, "flash")
    assert spec.budgets[key] == 0.5
    assert spec.reference()[key] == 0.5
    assert spec.objectives_in_force().scales[key].kind == "linear"
    assert ExperimentSpec.parse(spec.to_dict()) == spec
    assert ExperimentSpec.stored(spec.to_dict()) == spec


@pytest.mark.parametrize("task", TASKS.names())
def test_the_loss_and_the_metric_of_a_task_are_for_its_targets(task):
    config = TASKS.config_of(task)
    check_task(TASKS.config(task), LOSSES.config(config.loss), METRICS.config(config.metric), {})


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_is_measured_under_a_known_name(name):
    assert METRICS.config_of(name).key in TRAINED
    assert UNITS[METRICS.config_of(name).key].trained


@pytest.mark.parametrize(
    ("keys", "field", "allowed"),
    [
        ({"task": "translation"}, "task.name", "regression"),
        ({"task": "regression", "training": {"loss": "cross_entropy"}}, "training.loss", "such as mse"),
        ({"task": "regression", "training": {"metric": "error"}}, "training.metric", "such as rmse"),
        ({"task": "regression", "objectives": ["mae", "flash"]}, "objectives", "rmse"),
        ({"objectives": ["rmse"]}, "objectives", "error, the metric"),
        ({"task": {"name": "anomaly", "quantile": 2}}, "task.quantile", "less than 1"),
        (
            {"task": {"name": "classification", "class_weights": [1, -1]}},
            "task.class_weights",
            "a number above 0",
        ),
    ],
)
def test_mistakes_name_the_field(keys, field, allowed):
    with pytest.raises(InvalidInput) as caught:
        parse(**keys)
    assert caught.value.field.startswith(field)
    assert allowed in str(caught.value)


def test_an_unbounded_metric_needs_its_largest_value_of_interest():
    spec = parse(task="regression")
    with pytest.raises(InvalidInput) as caught:
        spec.objectives_in_force()
    assert caught.value.field == "reference_point.rmse"
    with pytest.raises(SparsemodError, match=r"reference_point\.rmse"):
        Problem.of(spec, DataInfo(name="any", shape=(4,), classes=1))
    given = parse(task="regression", reference_point={"error": 12.5}, training={"metric": "mae"})
    assert given.reference()["mae"] == 12.5
    assert parse(task="regression", budgets=["error <= 3"]).reference()["rmse"] == 3.0


def test_the_search_models_an_unbounded_metric_as_a_share_of_its_range():
    objectives = parse(task="regression", reference_point={"error": 50.0}).objectives_in_force()
    quality = Quality.of("rmse", objectives)
    assert quality.most == 100.0
    assert np.allclose(quality.value(quality.share([5.0, 50.0])), [5.0, 50.0])
    assert Quality.of("error", parse().objectives_in_force()).most == 1.0


def test_a_family_without_maps_is_refused_for_a_class_at_each_position():
    data = DataInfo(name="any", shape=(1, 8, 8), classes=2, outputs=(2, 8, 8))
    with pytest.raises(InvalidInput, match="such as fcn"):
        Problem.of(parse(task="per-pixel"), data).space.names  # noqa: B018


def test_classes_for_samples_are_refused_for_a_class_at_each_position():
    with pytest.raises(InvalidInput, match=r"targets \(N, H, W\)"):
        Problem.of(
            parse(task="per-pixel", network={"family": "fcn"}),
            DataInfo(name="any", shape=(1, 8, 8), classes=2),
        )
