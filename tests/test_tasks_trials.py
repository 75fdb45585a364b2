"""A trial of each task: its metric, its integer network and its C code."""

import math

import numpy as np
import pytest
from support_programs import needs_compiler

from sparsemod.export.c.host import host_answers
from sparsemod.export.c.project import generate
from sparsemod.quantization import IntegerNetwork
from sparsemod.spec.methods import METRICS as METRIC_PLUGINS
from sparsemod.units import METRICS, TRAINED
from tests.support_tasks import TASKS, spec_of, trained

VERBS = {
    "classification": "_classify(const int8_t *output)",
    "regression": "_predict(const int8_t *output, float *values)",
    "multi-label": "_classify(const int8_t *output, uint8_t *present)",
    "anomaly": "_score(const int8_t *input, const int8_t *output)",
    "per-pixel": "_classify(const int8_t *output, uint8_t *classes)",
}
GOOD = {"error": 0.25, "rmse": 15.0, "label_f1_error": 0.25, "auc_error": 0.15, "iou_error": 0.4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    cache = {}

    def of(task):
        if task not in cache:
            cache[task] = trained(task, folder, epochs=30)
        return cache[task]

    return of


@pytest.mark.parametrize("task", TASKS)
def test_a_trial_measures_the_metric_of_its_task_and_learns(finished, task):
    trial = finished(task)
    assert trial.result.state == "completed", trial.result.failure
    key = trial.spec.quality
    values = trial.result.values()
    assert [name for name in values if name in TRAINED] == [key]
    assert values[key] < GOOD[key]
    measured = next(m for m in trial.result.measurements if m.metric == key)
    assert measured.unit == METRICS[key].unit
    assert measured.standard_error is not None and math.isfinite(measured.standard_error)
    assert measured.detail
    assert {m.split for m in trial.result.measurements if m.metric == key} == {"validation", "test"}
    # The curve and the finished network have the same unit.
    assert min(point.validation_error for point in trial.result.curve) == pytest.approx(
        values[key], rel=0.5, abs=0.1
    )


@needs_compiler
@pytest.mark.parametrize("task", TASKS)
def test_the_c_code_gives_the_answers_of_the_interpreter_from_raw_samples(finished, task):
    trial = finished(task)
    network, data = trial.network, trial.data
    raw = network.normalization.undo(data.validation.x).astype(np.float32)
    inputs = network.quantize_samples(raw)
    expected = network.answers(inputs, network.run(inputs))
    found = host_answers(network, raw)
    assert expected.shape == found.shape
    assert np.array_equal(expected, found)
    project = generate(network, name="net")
    assert f"net{VERBS[task]};" in project.files["net.h"]
    assert f"net{VERBS[task].split('(')[0]}(" in project.files["README.md"]


@pytest.mark.parametrize("task", TASKS)
def test_a_network_file_keeps_what_its_outputs_mean(finished, task):
    network = finished(task).network
    assert network.decoding is not None
    assert network.decoding.targets == finished(task).spec.task.targets
    again = IntegerNetwork.from_bytes(network.to_bytes())
    assert again.decoding == network.decoding and again.classes == network.classes


def test_predictions_of_a_regression_have_the_units_of_its_targets(finished):
    trial = finished("regression")
    inputs = trial.network.quantize_input(trial.data.validation.x)
    answers = trial.network.answers(inputs, trial.network.run(inputs))
    differences = answers - trial.data.validation.y
    assert np.sqrt((differences**2).mean()) == pytest.approx(trial.result.values()["rmse"], rel=1e-5)
    assert trial.network.classes == ("watts", "volts")


def test_scores_of_the_deployed_network_are_those_of_the_trial(finished):
    trial = finished("anomaly")
    split = trial.data.validation
    inputs = trial.network.quantize_input(split.x)
    scores = trial.network.answers(inputs, trial.network.run(inputs))
    pairs = scores[split.y == 1][:, None] > scores[split.y == 0][None]
    assert 1 - pairs.mean() == pytest.approx(trial.result.values()["auc_error"], abs=1e-3)
    threshold = trial.network.decoding.threshold
    assert 0.9 <= (scores[split.y == 0] <= threshold).mean() < 1
    assert f"#define NET_THRESHOLD {threshold:.9g}f" in generate(trial.network, name="net").files["net.h"]


def test_an_autoencoder_trains_on_normal_samples_only(finished):
    data = finished("anomaly").data
    assert not data.train.y.any()
    assert data.validation.y.any() and not data.validation.y.all()
    assert sum(data.sizes.values()) == 120


def test_the_details_of_a_classifier_are_its_confusion_matrix(finished):
    trial = finished("classification")
    measured = next(m for m in trial.result.measurements if m.metric == "error")
    matrix = np.array(measured.detail["confusion"])
    assert measured.detail["classes"] == ["down", "still", "up"]
    assert matrix.sum() == len(trial.data.validation)
    assert 1 - np.trace(matrix) / matrix.sum() == pytest.approx(measured.value)
    outputs, targets = trial.network.logits(trial.data.validation.x), trial.data.validation.y
    for key, expected in (("macro_error", "macro_error"), ("macro_f1", "f1_error")):
        score = METRIC_PLUGINS.create(METRIC_PLUGINS.config(expected)).score(outputs, targets).value
        assert measured.detail[key] == pytest.approx(score if key == "macro_error" else 1 - score, abs=1e-4)


def test_balanced_weights_change_the_training(finished, tmp_path):
    weighted = trained(
        "classification", tmp_path, epochs=2, task={"name": "classification", "class_weights": [1.0, 1.0, 50.0]}
    )  # fmt: skip
    plain = trained("classification", tmp_path, epochs=2)
    assert weighted.result.curve[-1].train_loss != plain.result.curve[-1].train_loss
    predicted = weighted.network.predict(weighted.data.validation.x)
    assert (predicted == 2).mean() > (plain.network.predict(plain.data.validation.x) == 2).mean()


def test_a_sigmoid_at_the_end_stays_where_outputs_are_values(tmp_path):
    from torch import nn

    from sparsemod.data import load
    from sparsemod.pipeline.deployment import captured
    from sparsemod.pipeline.problem import Problem

    spec = spec_of("regression", tmp_path)
    problem = Problem.of(spec, load(spec.dataset, targets="values").info)
    graph, dropped = captured(nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.Sigmoid()), problem)
    assert not dropped and graph.operators[-1].kind == "table"
