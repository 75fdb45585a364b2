"""Automatic mixed precision: what computes in 16 bits, what stays in float32, and the factor of float16's gradients."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support_training import PLAIN, RICH, Halve, digits, equal, small_cnn, stop_after
from torch import nn

from sparsemod.errors import InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train
from sparsemod.training.precision import MixedPrecision


class Watched(nn.Module):
    """Notes the types of what its convolution and its output are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8 * 36, 10)
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        self.seen.add((self.training and torch.is_grad_enabled(), x.dtype))
        return self.head(x.relu().flatten(1))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_training_computes_in_16_bits_and_validation_in_float32(precision: Any) -> None:
    module = Watched()
    settings = TrainingSpec(batch_size=64, learning_rate=0.01, precision=precision)
    outcome = train(module, digits(), settings, epochs=4, seed=0)
    assert (True, getattr(torch, precision)) in module.seen
    assert (True, torch.float32) not in module.seen and (False, torch.float32) in module.seen
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert outcome.diverged is None and outcome.best is not None and outcome.best.validation_error < 0.5
    plain = train(Watched(), digits(), PLAIN.model_copy(update={"batch_size": 64}), epochs=1, seed=0)
    assert plain.curve[0].train_loss == pytest.approx(outcome.curve[0].train_loss, rel=0.3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_mixed_training_resumes_bit_for_bit(precision: str) -> None:
    settings = RICH.model_copy(update={"precision": precision})
    whole, part = small_cnn(dropout=0.2), small_cnn(dropout=0.2)
    train(whole, digits(), settings, epochs=3, seed=3, pruner=Halve())
    begun = train(part, digits(), settings, epochs=3, seed=3, pruner=Halve(), should_stop=stop_after(2))
    continued = small_cnn(seed=8, dropout=0.2)
    train(continued, digits(), settings, epochs=3, seed=3, pruner=Halve(), resume=begun.checkpoint)
    assert equal(whole, continued)


def test_float16_leaves_out_steps_with_infinite_gradients_and_lowers_the_factor() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    precision = MixedPrecision("float16", torch.device("cpu"))
    first = float(precision.scaled(torch.ones(())))
    weight.grad = torch.tensor([float("inf"), 1.0])
    precision.step(optimizer, [weight], None)
    assert weight.tolist() == [1.0, 1.0]
    assert float(precision.scaled(torch.ones(()))) == first / 2
    weight.grad = torch.tensor([first / 2, first / 4])  # as scaled by the factor now
    precision.step(optimizer, [weight], 0.5)
    norm = (1 + 0.25) ** 0.5
    torch.testing.assert_close(weight.detach(), torch.tensor([1 - 0.5 / norm, 1 - 0.25 / norm]))


def test_other_rules_and_the_predicted_memory_need_float32() -> None:
    for key, value in (("precision", "bfloat16"), ("processes", 2)):
        with pytest.raises(ValidationError, match=f"{key} is {value}, which the rule dfa does not support"):
            TrainingSpec.model_validate({"rule": {"name": "dfa"}, key: value})
        spec = {
            "name": "memory", "dataset": {"name": "digits"}, "network": {"family": "cnn"},
            "objectives": ["error", "training_memory"], "training": {key: value},
        }  # fmt: skip
        with pytest.raises(InvalidSpec, match=rf"training\.{key}.*training_memory"):
            ExperimentSpec.parse(spec)
