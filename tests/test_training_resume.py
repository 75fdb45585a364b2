"""Checkpoints of a training: a resumed one equals a whole one, state of rules included; a checkpoint of another training is refused."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from support_training import PLAIN, RICH, Halve, digits, equal, small_cnn, stop_after
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.spec.methods import LOSSES, METRICS, OPTIMIZERS, RULES, RuleConfig
from sparsemod.training import checkpoint as checkpoints
from sparsemod.training import train
from sparsemod.training.checkpoint import pack, unpack
from sparsemod.training.rules import LossFunction, TrainingRule


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("after", [1, 3])
def test_resume_equals_an_uninterrupted_run(name: str, after: int) -> None:
    settings = RICH.model_copy(update={"optimizer": OPTIMIZERS.config(name, nesterov=name == "sgd")})
    data, whole, first = digits(), small_cnn(dropout=0.2), small_cnn(dropout=0.2)
    expected = train(whole, data, settings, epochs=5, seed=3, pruner=Halve())
    part = train(first, data, settings, epochs=5, seed=3, pruner=Halve(), should_stop=stop_after(after))
    assert part.stopped and len(part.curve) == after
    continued = small_cnn(seed=8, dropout=0.2)  # its own weights must not matter
    found = train(continued, data, settings, epochs=5, seed=3, pruner=Halve(), resume=part.checkpoint)
    assert equal(whole, continued)
    assert found.best_epoch == expected.best_epoch and len(found.curve) == 5
    ends = [unpack(outcome.checkpoint) for outcome in (expected, found)]
    for end in ends:
        end.pop("curve")  # holds seconds
    assert pack(ends[0]) == pack(ends[1])
    for a, b in zip(expected.curve, found.curve, strict=True):
        assert a.model_copy(update={"seconds": 0.0}) == b.model_copy(update={"seconds": 0.0})


@pytest.fixture
def own_rules() -> Iterator[None]:
    """Two rules: one whose gradients depend on earlier steps, one that replaces the forward of single layers."""

    @RULES.register("fading")
    class Fading(TrainingRule[RuleConfig]):
        """Gradients shrink with every batch."""

        Config = RuleConfig
        scale = torch.ones(())

        def gradients(self, x: torch.Tensor, y: torch.Tensor, loss: LossFunction) -> torch.Tensor:
            value = super().gradients(x, y, loss)
            self.scale = self.scale * 0.9
            for parameter in self.module.parameters():
                assert parameter.grad is not None
                parameter.grad *= self.scale
            return value

        def state_dict(self) -> dict[str, Any]:
            return {"scale": self.scale}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.scale = state["scale"]

    @RULES.register("watching")
    class Watching(TrainingRule[RuleConfig]):
        """Counts the calls of every layer."""

        Config = RuleConfig
        layer_by_layer = True
        calls: ClassVar[dict[str, int]] = {}

        def start(self, module: nn.Module, seed: int) -> None:
            super().start(module, seed)
            for name, layer in module.named_children():
                vars(layer)["forward"] = functools.partial(self._count, name, layer.forward)

        def _count(self, name: str, forward: Any, x: torch.Tensor) -> Any:
            self.calls[name] = self.calls.get(name, 0) + self.module.training
            return forward(x)

        def finish(self) -> None:
            for layer in self.module.children():
                del vars(layer)["forward"]

    yield
    for name in ("fading", "watching"):
        del RULES._members[name]


@pytest.mark.usefixtures("own_rules")
def test_a_rules_own_state_is_part_of_the_checkpoint() -> None:
    settings = PLAIN.model_copy(
        update={"rule": RULES.config("fading"), "optimizer": OPTIMIZERS.config("sgd")}
    )
    data, whole, continued, kept = digits(), small_cnn(), small_cnn(), list[bytes]()
    train(whole, data, settings, epochs=4, seed=3, on_checkpoint=kept.append)
    assert float(unpack(kept[1])["rule"]["scale"]) == pytest.approx(0.9**18)
    train(continued, data, settings, epochs=4, seed=3, resume=kept[1])
    assert equal(whole, continued)


@pytest.mark.usefixtures("own_rules")
def test_a_rule_that_needs_single_layers_sees_each_of_them() -> None:
    settings = PLAIN.model_copy(update={"rule": RULES.config("watching")})
    module = small_cnn()
    train(module, digits(), settings, epochs=1, seed=3)
    calls = RULES.get("watching").calls
    assert set(calls) == {str(place) for place in range(9)} and len(set(calls.values())) == 1, calls
    assert not any("forward" in vars(layer) for layer in module.modules())


def test_checkpoints_hold_names_and_no_classes() -> None:
    outcome = train(small_cnn(), digits(), RICH, epochs=1, seed=0, pruner=Halve())
    words: set[str] = set()

    def check(value: Any) -> None:
        if type(value) is dict:
            words.update(value)
            for inner in value.values():
                check(inner)
        elif type(value) is list:
            for inner in value:
                check(inner)
        elif type(value) is not torch.Tensor:
            assert type(value) in (str, int, float, bool, type(None)), value
            words.add(str(value))

    check(unpack(outcome.checkpoint))
    text = " ".join(words)
    classes = {type(part).__name__ for part in small_cnn().modules()} | {"Halve", "Backpropagation"}
    for family in (RULES, OPTIMIZERS, LOSSES, METRICS):
        classes |= {family.get(name).__name__ for name in family.names()}
    assert "pruning" in words and RICH.optimizer.name in text
    assert not [name for name in classes if name in text]


def test_every_epoch_has_a_checkpoint_to_continue() -> None:
    data, whole = digits(), small_cnn()
    kept: list[bytes] = []
    outcome = train(whole, data, PLAIN, epochs=3, seed=0, on_checkpoint=kept.append)
    assert len(kept) == 3 and kept[-1] == outcome.checkpoint
    again = small_cnn()
    train(again, data, PLAIN, epochs=3, seed=0, resume=kept[0])
    assert equal(whole, again)
    finished = train(small_cnn(), data, PLAIN, epochs=3, seed=0, resume=kept[2])
    assert finished.curve == outcome.curve and finished.best_epoch == outcome.best_epoch


def test_a_checkpoint_of_another_training_is_refused() -> None:
    data = digits()
    checkpoint = train(small_cnn(), data, PLAIN, epochs=2, seed=0, should_stop=stop_after(1)).checkpoint
    with pytest.raises(InvalidInput, match=r"resume\.seed"):
        train(small_cnn(), data, PLAIN, epochs=2, seed=1, resume=checkpoint)
    with pytest.raises(InvalidInput, match=r"resume\.epochs"):
        train(small_cnn(), data, PLAIN, epochs=3, seed=0, resume=checkpoint)
    with pytest.raises(InvalidInput, match=r"resume\.settings"):
        train(small_cnn(), data, RICH, epochs=2, seed=0, resume=checkpoint)
    with pytest.raises(InvalidInput, match="weights of this network"):
        train(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data, PLAIN, epochs=2, seed=0, resume=checkpoint
        )
    for broken in (b"", b"hello", checkpoint[:-10], checkpoint[100:]):
        with pytest.raises(InvalidInput, match="checkpoint written by train"):
            train(small_cnn(), data, PLAIN, epochs=2, seed=0, resume=broken)


def test_a_checkpoint_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = train(small_cnn(), digits(), PLAIN, epochs=1, seed=0).checkpoint
    assert set(unpack(content)) == {
        "identity", "curve", "best_epoch", "waited", "module", "best", "kept", "optimizer", "rule", "beside", "precision", "pruner",
    }, "other parts need another FORMAT"  # fmt: skip
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    with pytest.raises(InvalidInput, match=r"resume\.format"):
        train(small_cnn(), digits(), PLAIN, epochs=1, seed=0, resume=content)
