"""A trial of a classifier that ends in softmax."""

from typing import Any

import pytest
from support_trials import manual, tiny_data, tiny_spec
from torch import nn

from sparsemod.networks import mlp_module
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialResult, TrialState


def _run() -> TrialResult:
    spec = tiny_spec("mlp", space={})
    data = tiny_data(spec)
    parameters = Problem.of(spec, data.info).space.complete({})
    return evaluate(spec, manual(parameters), epochs=1, seed=0, data=data)


def test_softmax_at_the_end_is_left_out_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, build = _run(), mlp_module.build

    def with_softmax(*args: Any) -> nn.Module:
        return nn.Sequential(build(*args), nn.LogSoftmax(1))

    monkeypatch.setattr(mlp_module, "build", with_softmax)
    result = _run()
    assert result.state is TrialState.COMPLETED
    assert any("not deployed: '1'; it does not change which class is the largest" in n for n in result.notes)
    assert not any("not deployed" in note for note in plain.notes)
    for metric in ("model_size", "working_memory", "latency"):
        assert result.value(metric) == plain.value(metric)
