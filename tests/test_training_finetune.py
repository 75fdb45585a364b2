"""Fine-tuning with fake quantization: the rounding, the stage, its gain, and its epochs."""

import pytest
import torch
from support_trials import default_candidate, tiny_data, tiny_spec
from torch import nn

from sparsemod.errors import InvalidSpec
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialState
from sparsemod.training.fake_quantization import fake_quantized

STAGES = [
    "build",
    "screen",
    "inherit",
    "train",
    "prune",
    {"name": "finetune", "epochs": 2},
    "quantize",
    "measure",
]


def test_layers_round_weights_and_inputs_only_inside() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    module = nn.Sequential(layer)
    before = layer.weight.detach().clone()
    x = torch.randn(40, 6)
    module.train()
    with fake_quantized(module):
        weight = layer.weight.detach()
        scale = before.abs().amax(1, keepdim=True) / 127
        assert torch.allclose(weight, (before / scale).round() * scale)
        assert not torch.equal(weight, before)
        y = module(x)
        step = (x.max() - x.min()) / 255
        rounded = ((x / step).round()) * step
        assert torch.allclose(y, nn.functional.linear(rounded, weight, layer.bias), atol=float(step))
        y.sum().backward()
        inner = layer.parametrizations.weight.original.grad
        assert inner is not None and torch.allclose(inner, x.sum(0).expand(3, 6), atol=0.5), "gradients pass"
    assert torch.equal(layer.weight, before) and isinstance(layer.weight, nn.Parameter)
    assert not layer._forward_pre_hooks
    assert [name for name, _ in module.named_parameters()] == ["0.weight", "0.bias"] or set(
        dict(module.named_parameters())
    ) == {"0.weight", "0.bias"}


def test_the_stage_measures_its_gain() -> None:
    spec = tiny_spec(pipeline=STAGES, pruning={"method": "magnitude", "sparsity": 0.5})
    result = evaluate(spec, default_candidate(spec), epochs=2, seed=3, data=tiny_data(spec))
    assert result.state is TrialState.COMPLETED, result.failure
    (gain,) = [m for m in result.measurements if m.metric == "finetune_gain"]
    assert gain.detail["epochs"] == 2 and gain.value == max(0.0, gain.detail["before"] - gain.detail["after"])
    final = gain.detail["after"] if gain.detail["kept"] else gain.detail["before"]
    assert result.value("error") == final, "the better network is measured"
    assert any("fine-tuned with fake quantization for 2 epochs" in note for note in result.notes)
    assert len(result.curve) == 4
    parameters = result.value("parameters")
    assert result.value("nonzeros") <= 0.51 * parameters, "pruned weights stay zero"
    assert "finetune" in result.seconds


def test_the_epochs_may_be_searched() -> None:
    spec = tiny_spec(pipeline=STAGES, space={"finetune_epochs": {"low": 0, "high": 3}})
    for epochs in (0, 1):
        result = evaluate(
            spec, default_candidate(spec, finetune_epochs=epochs), epochs=1, seed=3, data=tiny_data(spec)
        )
        assert len(result.curve) == 1 + epochs
        assert ("finetune" in result.seconds) == bool(epochs)


def test_searched_epochs_need_the_stage() -> None:
    with pytest.raises(InvalidSpec, match="needs the stage finetune"):
        tiny_spec(space={"finetune_epochs": [1, 2]})
    with pytest.raises(InvalidSpec, match="whole numbers from 0"):
        tiny_spec(pipeline=STAGES, space={"finetune_epochs": [0.5, 2]})
