"""Metrics of all tasks against values by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as reference

from sparsemod.spec.methods import METRICS

RNG = np.random.default_rng(3)


def score(name, outputs, targets):
    return METRICS.create(METRICS.config(name)).score(outputs, targets)


def test_f1_of_classes():
    outputs, targets = RNG.normal(size=(400, 4)), RNG.integers(0, 4, 400)
    outputs[np.arange(400), targets] += 1.5
    found = score("f1_error", outputs, targets)
    expected = 1 - reference.f1_score(targets, outputs.argmax(1), average="macro")
    assert found.value == pytest.approx(expected)
    assert 0.01 < found.standard_error < 0.05


def test_macro_error_is_another_name_of_the_balanced_error():
    assert METRICS.config("macro_error").name == "balanced_error"


def test_labels():
    outputs, targets = RNG.normal(size=(300, 3)), RNG.integers(0, 2, (300, 3))
    outputs += targets
    assert score("hamming_error", outputs, targets).value == pytest.approx(
        reference.hamming_loss(targets, (outputs > 0).astype(int))
    )
    expected = 1 - reference.f1_score(targets, outputs > 0, average="macro")
    found = score("label_f1_error", outputs, targets)
    assert found.value == pytest.approx(expected)
    assert 0.01 < found.standard_error < 0.05


def test_area_under_the_curve_counts_ties_as_half():
    scores, targets = RNG.integers(0, 20, 500).astype(float), RNG.integers(0, 2, 500)
    scores += 4 * targets
    found = score("auc_error", scores, targets)
    assert found.value == pytest.approx(1 - reference.roc_auc_score(targets, scores))
    assert 0.01 < found.standard_error < 0.05
    assert score("auc_error", scores, np.zeros(500, int)).value == 0.5


@pytest.mark.parametrize(("name", "expected"), [("rmse", np.sqrt(14 / 4)), ("mae", 1.5)])
def test_differences(name, expected):
    outputs, targets = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 2.0], [2.0, 3.0]])
    assert score(name, outputs, targets).value == pytest.approx(expected)
    assert score(name, targets, targets).value == 0.0


def test_maps():
    targets = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])
    predicted = np.array([[[0, 0], [1, 1]], [[0, 0], [0, 0]]])
    outputs = np.eye(2)[predicted].transpose(0, 3, 1, 2)
    assert score("pixel_error", outputs, targets).value == pytest.approx(1 / 8)
    expected = 1 - reference.jaccard_score(targets.reshape(-1), predicted.reshape(-1), average="macro")
    assert score("iou_error", outputs, targets).value == pytest.approx(expected)
