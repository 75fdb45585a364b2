"""The auxiliary head: its loss against the definition, in training only, in checkpoints, in the memory, in no result."""

import pytest
import torch
from support_training import digits, equal, small_cnn
from support_trials import tiny_spec
from torch.nn import functional

from sparsemod.errors import InvalidInput
from sparsemod.networks.zoo import network
from sparsemod.pipeline.training_memory import predicted, traced
from sparsemod.records import DataInfo
from sparsemod.spec.methods import RULES
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train
from sparsemod.training.batch_loss import BatchLoss
from sparsemod.training.evaluation import evaluate

SPEC = TrainingSpec(batch_size=100, auxiliary=0.4)


def small_darts(seed=0):
    torch.manual_seed(seed)
    return network("darts-3-2").build((1, 8, 8), 10)


def whole_of(module, settings=SPEC):
    return BatchLoss(module, settings, functional.cross_entropy, 3)


def test_the_published_head_has_its_shapes_and_parameters():
    with torch.device("meta"):
        module = network("darts-3-36").build((3, 32, 32), 10)
        layer, head = module.auxiliary_head()
        seen = []
        module.get_submodule(layer).register_forward_hook(lambda _, given, output: seen.append(output))
        module(torch.zeros(2, 3, 32, 32))
    assert layer == "cells.2" and seen[0].shape == (2, 576, 8, 8)
    assert head(seen[0]).shape == (2, 10)
    assert sum(parameter.numel() for parameter in head.parameters()) == (
        576 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    )


def test_the_loss_is_that_of_both_classifiers_and_both_learn():
    module = small_darts().train()
    whole = whole_of(module)
    (head,) = whole.beside.values()
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6)
    kept = []
    handle = module.cells[2].register_forward_hook(lambda _, given, output: kept.append(output))
    outputs = module(x)
    handle.remove()
    value = whole.of(x, y)(outputs, y)
    again = functional.cross_entropy(outputs, y) + 0.4 * functional.cross_entropy(head(kept[0]), y)
    torch.testing.assert_close(value, again)
    value.backward()
    assert all(parameter.grad is not None for parameter in whole.trained.parameters())
    own = sum(parameter.numel() for parameter in module.parameters())
    assert sum(parameter.numel() for parameter in whole.trained.parameters()) > own
    module.eval()
    outputs = module(x)
    assert torch.equal(whole.of(x, y)(outputs, y), functional.cross_entropy(outputs, y))
    whole.finish()
    assert not module.cells[2]._forward_hooks


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_head_computes_in_the_precision_of_the_training(precision, monkeypatch):
    linear, seen = functional.linear, set()

    def watched(x, weight, bias=None):
        y = linear(x, weight, bias)
        seen.add((weight.shape[1], weight.dtype, y.dtype))
        return y

    monkeypatch.setattr(functional, "linear", watched)
    mixed = train(small_darts(), digits(), SPEC.model_copy(update={"precision": precision}), epochs=1, seed=1)
    assert (768, torch.float32, getattr(torch, precision)) in seen, "the head's classifier"
    plain = train(small_darts(), digits(), SPEC, epochs=1, seed=1)
    assert mixed.curve[0].train_loss == pytest.approx(plain.curve[0].train_loss, rel=0.3)


def test_a_training_with_the_head_leaves_the_networks_own_weights_and_resumes():
    data, names, kept = digits(), list(small_darts().state_dict()), []
    plain, helped, resumed = small_darts(), small_darts(), small_darts()
    alone = train(plain, data, SPEC.model_copy(update={"auxiliary": 0.0}), epochs=2, seed=1)
    outcome = train(helped, data, SPEC, epochs=2, seed=1, on_checkpoint=kept.append)
    train(resumed, data, SPEC, epochs=2, seed=1, resume=kept[0])
    assert not equal(plain, helped) and equal(helped, resumed)
    assert list(helped.state_dict()) == names and not helped.cells[2]._forward_hooks
    assert evaluate(helped, data.validation)[1] == outcome.best.validation_error
    assert outcome.curve[0].train_loss > alone.curve[0].train_loss, "the head's loss is part of it"


def test_the_training_memory_counts_the_head():
    info = DataInfo(name="x", shape=(1, 8, 8), classes=10)
    module, plain = small_darts(), TrainingSpec(batch_size=4)
    alone, shadow = (
        predicted(module, info, plain),
        predicted(module, info, SPEC.model_copy(update={"batch_size": 4})),
    )
    head = sum(parameter.numel() for parameter in module.auxiliary_head()[1].parameters())
    assert shadow.baseline["parameters"] == alone.baseline["parameters"] + 4 * head
    real = traced(module, info, SPEC.model_copy(update={"batch_size": 4}), "cpu")
    assert real.peak == shadow.peak and real.baseline == shadow.baseline
    assert "forward/auxiliary.classifier/addmm" in {event.operation for event in real.events}


@pytest.mark.parametrize(
    ("rule", "words"), [("bp", "without auxiliary head"), ("fa", "needs backpropagation")]
)
def test_where_there_is_no_head_the_key_is_named(rule, words):
    module = small_cnn() if rule == "bp" else small_darts()
    with pytest.raises(InvalidInput, match=words) as raised:
        train(module, digits(), SPEC.model_copy(update={"rule": RULES.config(rule)}), epochs=1, seed=0)
    assert raised.value.field == "training.auxiliary"


def test_no_memory_is_predicted_for_a_head_with_a_rule_that_cannot_train_it():
    settings = SPEC.model_copy(update={"rule": RULES.config("fa")})
    with pytest.raises(InvalidInput, match="0 with the rule fa: an auxiliary head needs backpropagation"):
        predicted(small_darts(), DataInfo(name="x", shape=(1, 8, 8), classes=10), settings)


def test_the_preset_of_darts_has_the_published_weight():
    assert tiny_spec(training={"preset": "darts"}).training.auxiliary == 0.4
