"""Presets of training by name, and the schedule of dropped paths."""

import pytest
import torch
from support_training import digits, small_cnn
from support_trials import tiny_spec

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.networks.zoo import network
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.spec.training_presets import PRESETS
from sparsemod.training import train
from sparsemod.training.schedules import LearningRate


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_what_the_spec_does_not(name):
    spec = tiny_spec(training={"preset": name, "batch_size": 7})
    assert spec.training.batch_size == 7
    assert spec.training.learning_rate == PRESETS[name]["learning_rate"]
    assert spec.training.optimizer.name == "sgd" and spec.training.optimizer.momentum == 0.9
    assert ExperimentSpec.parse(spec.to_dict()) == spec


def test_the_published_rates_of_wide_resnets():
    settings = tiny_spec(training={"preset": "wrn"}).training
    rate = LearningRate(settings.learning_rate, settings.schedule, 200, 1)
    found = [round(rate.at(epoch), 6) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert found == [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008]
    assert settings.weight_decay == 5e-4 and settings.batch_size == 128
    assert [one.name for one in settings.augmentation] == ["shift", "flip", "cutout"]


def test_an_unknown_preset_is_named():
    with pytest.raises(InvalidSpec, match="wrn") as raised:
        tiny_spec(training={"preset": "wide"})
    assert raised.value.field == "training.preset"


def test_dropped_paths_grow_over_the_epochs():
    torch.manual_seed(0)
    net = network("darts-3-2").build((1, 8, 8), 10)
    seen = []
    set_drop_path = net.set_drop_path
    net.set_drop_path = lambda probability: (seen.append(round(probability, 6)), set_drop_path(probability))
    spec = TrainingSpec(batch_size=100, drop_path=0.4)
    outcome = train(net, digits(), spec, epochs=4, seed=0)
    assert seen == [0.0, 0.1, 0.2, 0.3] and outcome.best_epoch is not None
    x = torch.randn(2, 1, 8, 8)
    net.train()
    assert not torch.equal(net(x), net(x))
    with pytest.raises(InvalidInput, match="without paths"):
        train(small_cnn(), digits(), spec, epochs=1, seed=0)
