"""The losses between classes and outputs: against their definitions and tf.losses, with weights, in a training and its memory."""

import math

import numpy as np
import pytest
import torch
from support_training import digits, small_cnn

from sparsemod.errors import InvalidInput
from sparsemod.pipeline.training_memory import predicted, traced
from sparsemod.records import DataInfo
from sparsemod.spec.methods import LOSSES, METRICS, TASKS
from sparsemod.spec.task_choice import check_task
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train

OUTPUTS = [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]]
CLASSES = [0, 2]


def by_hand(name):
    """The mean over all outputs, as tf.losses.sigmoid_cross_entropy and mean_squared_error compute it."""
    total = 0.0
    for outputs, chosen in zip(OUTPUTS, CLASSES, strict=True):
        for place, output in enumerate(outputs):
            truth = float(place == chosen)
            if name == "mse":
                total += (output - truth) ** 2
            else:
                p = 1 / (1 + math.exp(-output))
                total -= truth * math.log(p) + (1 - truth) * math.log(1 - p)
    return total / 6


@pytest.mark.parametrize("name", ["mse", "binary_cross_entropy"])
def test_each_class_is_a_label_of_its_own(name):
    loss = LOSSES.create(LOSSES.config(name))
    outputs = torch.tensor(OUTPUTS, dtype=torch.float64, requires_grad=True)
    value = loss.mean(outputs, torch.tensor(CLASSES))
    assert value.item() == pytest.approx(by_hand(name))
    value.backward()
    truth = np.eye(3)[CLASSES]
    given = np.array(OUTPUTS)
    error = 2 * (given - truth) if name == "mse" else 1 / (1 + np.exp(-given)) - truth
    np.testing.assert_allclose(outputs.grad.numpy(), error / 6, rtol=1e-12)


@pytest.mark.parametrize("name", ["mse", "binary_cross_entropy"])
def test_classes_may_have_weights(name):
    loss = LOSSES.create(LOSSES.config(name))
    outputs, classes = torch.tensor(OUTPUTS), torch.tensor(CLASSES)
    single = [loss.mean(outputs[place : place + 1], classes[place : place + 1]) for place in (0, 1)]
    loss.weights = np.array([3.0, 7.0, 1.0], np.float32)
    assert loss.mean(outputs, classes).item() == pytest.approx((3 * single[0] + single[1]).item() / 4)


@pytest.mark.parametrize("name", ["mse", "binary_cross_entropy"])
def test_a_classifier_learns_by_them_and_the_prediction_of_its_memory_is_exact(name):
    settings = TrainingSpec(batch_size=32, learning_rate=0.01, loss=LOSSES.config(name))
    outcome = train(small_cnn(), digits(), settings, epochs=8, seed=0)
    assert outcome.best.validation_error < 0.7, "chance is 0.9"
    info = DataInfo(name="x", shape=(1, 8, 8), classes=10)
    real, shadow = traced(small_cnn(), info, settings, "cpu"), predicted(small_cnn(), info, settings)
    workspace = (
        4 * (32 * 10 - 1) if name == "mse" else 0
    )  # the CPU's mse_loss sums in the storage of its result
    assert (real.peak, real.baseline) == (shadow.peak + workspace, shadow.baseline)
    assert shadow.baseline["batch"] == 32 * (4 * 64 + 8), "the targets are classes"


def test_the_other_losses_of_numbers_stay_with_numbers():
    with pytest.raises(InvalidInput, match="for the task classification"):
        check_task(TASKS.config("classification"), LOSSES.config("huber"), METRICS.config("error"), {})
