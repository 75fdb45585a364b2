"""The training loop: it learns, is repeatable, keeps the best weights and stops."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from support_training import PLAIN, RICH, Halve, digits, equal, small_cnn, stop_after
from torch import nn

from sparsemod.errors import BuildError, InvalidInput, UnknownName
from sparsemod.records import CurvePoint
from sparsemod.spec.methods import AUGMENTATIONS, RULES
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident, TrainingOutcome, evaluate, train
from sparsemod.training.resident import batch_bounds


def test_it_learns_digits_and_keeps_the_best_epoch() -> None:
    data, module, seen = digits(), small_cnn(), list[CurvePoint]()
    outcome = train(module, data, PLAIN, epochs=8, seed=0, on_epoch=seen.append)
    assert outcome.curve == tuple(seen) and [p.epoch for p in seen] == list(range(1, 9))
    assert outcome.best is not None and outcome.best.validation_error < 0.25
    assert outcome.best.validation_error == min(p.validation_error for p in seen)
    assert evaluate(module, data.validation) == (outcome.best.validation_loss, outcome.best.validation_error)
    assert not (outcome.stopped or outcome.early or outcome.diverged) and not module.training
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("settings", [PLAIN, RICH])
def test_equal_seeds_give_equal_results_whatever_else_is_drawn(settings: TrainingSpec) -> None:
    data = digits()
    first, second, other = (small_cnn(dropout=0.3) for _ in range(3))
    curves = [train(first, data, settings, epochs=3, seed=5).curve]

    def disturb(_: CurvePoint) -> None:
        torch.rand(17)

    torch.manual_seed(99)
    curves.append(train(second, data, settings, epochs=3, seed=5, on_epoch=disturb).curve)
    assert equal(first, second)
    timeless = [[point.model_copy(update={"seconds": 0.0}) for point in curve] for curve in curves]
    assert timeless[0] == timeless[1]
    train(other, data, settings, epochs=3, seed=6)
    assert not equal(first, other)


def test_global_generators_are_left_as_they_were() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    data, module = digits(), nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    state = torch.get_rng_state()
    train(module, data, PLAIN, epochs=1, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), expected)


def test_stopping_before_the_first_epoch_changes_nothing() -> None:
    module, untouched = small_cnn(), small_cnn()
    outcome = train(module, digits(), PLAIN, epochs=2, seed=0, should_stop=lambda: True)
    assert outcome.stopped and outcome.curve == () and outcome.best_epoch is None and outcome.best is None
    assert equal(module, untouched)


def test_with_a_pruner_only_epochs_at_full_sparsity_count() -> None:
    pruner, module = Halve(), small_cnn()
    outcome = train(
        module, digits(), PLAIN.model_copy(update={"early_stop": 1}), epochs=6, seed=0, pruner=pruner
    )
    assert outcome.best_epoch is not None and outcome.best_epoch >= 4 and pruner.finished
    assert [p.sparsity for p in outcome.curve[:4]] == [0.0, 0.0, 0.0, 0.5]
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    assert not last.weight[:, ::2].any() and last.weight[:, 1::2].all()


def test_stopping_before_full_sparsity_qualifies_no_epoch() -> None:
    pruner = Halve()
    outcome = train(small_cnn(), digits(), PLAIN, epochs=6, seed=0, pruner=pruner, should_stop=stop_after(2))
    assert outcome.stopped and outcome.best_epoch is None and not pruner.finished


def test_patience_ends_training_early() -> None:
    # A rate of nearly nothing never improves the error.
    settings = PLAIN.model_copy(update={"early_stop": 2, "learning_rate": 1e-12})
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    outcome = train(module, digits(), settings, epochs=50, seed=0)
    assert outcome.early and not outcome.stopped and len(outcome.curve) == 3


@pytest.mark.parametrize("good_epochs", [0, 2])
def test_divergence_is_an_outcome_with_usable_weights(good_epochs: int) -> None:
    class Exploding(nn.Module):
        """Multiplies its logits by infinity from a given training step on."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.steps = small_cnn(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += self.training
            logits: torch.Tensor = self.inner(x)
            return logits * (float("inf") if self.training and self.steps > good_epochs * 9 else 1.0)

    data, module = digits(), Exploding()
    assert len(batch_bounds(len(data.train), 32)) == 9
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    outcome = train(module, data, PLAIN, epochs=5, seed=0)
    assert outcome.diverged == good_epochs + 1 and len(outcome.curve) == good_epochs
    assert not outcome.early and not outcome.stopped and outcome.checkpoint == b""
    after = module.state_dict()
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())
    if good_epochs:
        assert outcome.best is not None
        assert evaluate(module, data.validation) == (
            outcome.best.validation_loss,
            outcome.best.validation_error,
        )
    else:
        assert outcome.best_epoch is None and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (9, 4, [(0, 4), (4, 9)]),
        (1, 4, [(0, 1)]),
        (3, 1, [(0, 1), (1, 3)]),
        (8, 8, [(0, 8)]),
    ],
)
def test_no_batch_of_one_sample_is_left_over(count: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert batch_bounds(count, size) == expected


def test_a_last_batch_of_one_trains_with_batch_norm() -> None:
    x, y = torch.randn(9, 3), torch.arange(9) % 2
    data = Resident.from_tensors(x, y, x, y)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    assert len(train(module, data, PLAIN.model_copy(update={"batch_size": 4}), epochs=2, seed=0).curve) == 2
    with pytest.raises(InvalidInput, match="at least 2 samples, for batch normalization"):
        train(module, data, PLAIN.model_copy(update={"batch_size": 1}), epochs=1, seed=0)


@pytest.mark.parametrize("samples", [1, 33, 300])
def test_evaluation_counts_every_sample(samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(samples, 2, 9, 9, generator=generator),
        torch.randint(0, 3, (samples,), generator=generator),
    )
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(162, 3)).eval()
    data = Resident.from_tensors(x, y, x, y)
    loss, error = evaluate(module.train(), data.validation)
    assert module.training
    logits = module.eval()(x).detach()
    assert error == pytest.approx(float((logits.argmax(1) != y).double().mean()))
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, y)), rel=1e-5)


def test_batches_are_channels_last_without_changing_a_value() -> None:
    x, y = torch.randn(6, 3, 4, 5), torch.arange(6)
    samples = Resident.from_tensors(x, y, x, y).train
    batch, labels = samples.batch(torch.tensor([4, 1]))
    assert torch.equal(batch, x[[4, 1]]) and labels.tolist() == [4, 1]
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(samples.slice(2, 5)[0], x[2:5])


def test_the_module_comes_back_contiguous_with_the_same_parameters() -> None:
    module = small_cnn()
    before = list(module.parameters())
    train(module, digits(), PLAIN, epochs=1, seed=0)
    assert all(
        a is b and a.is_contiguous() and a.grad is None
        for a, b in zip(before, module.parameters(), strict=True)
    )


def test_wrong_arguments_name_themselves() -> None:
    data = digits()
    module = small_cnn()
    with pytest.raises(InvalidInput, match="epochs = 0"):
        train(module, data, PLAIN, epochs=0, seed=0)
    with pytest.raises(InvalidInput, match="seed = -1"):
        train(module, data, PLAIN, epochs=1, seed=-1)
    with pytest.raises(InvalidInput, match="device = 'meta'"):
        train(module, data, PLAIN, epochs=1, seed=0, device="meta")
    with pytest.raises(UnknownName, match="bp"):
        RULES.config("hebb")
    with pytest.raises(BuildError, match="no parameters"):
        train(nn.Flatten(), data, PLAIN, epochs=1, seed=0)
    x, y = torch.randn(4, 3), torch.arange(4)
    with pytest.raises(InvalidInput, match="float32"):
        Resident.from_tensors(x.double(), y, x, y)
    with pytest.raises(InvalidInput, match="int64 labels"):
        Resident.from_tensors(x, y[:3], x, y)
    with pytest.raises(InvalidInput, match="training data's shape"):
        Resident.from_tensors(x, y, x[:, :2], y)


def test_outcomes_are_plain_data() -> None:
    outcome = TrainingOutcome((), None, True, False, None, b"", 0.0)
    assert dataclasses.replace(outcome, seconds=1.0) != outcome


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu() -> None:
    data = Resident.of(load_digits(), "cuda:0")
    module = small_cnn(dropout=0.2)
    state = torch.cuda.get_rng_state(0)
    first = train(
        module, data, RICH, epochs=4, seed=0, device="cuda:0", pruner=Halve(), should_stop=stop_after(2)
    )
    found = train(
        module, data, RICH, epochs=4, seed=0, device="cuda:0", pruner=Halve(), resume=first.checkpoint
    )
    assert found.best is not None and next(module.parameters()).is_cuda
    assert torch.equal(torch.cuda.get_rng_state(0), state)


def load_digits() -> Any:
    from sparsemod.data import load
    from sparsemod.spec.parts import DatasetSpec

    return load(DatasetSpec(name="digits", limit=400))


class Viewing(nn.Module):
    """What many people write: `view` after convolutions, which needs torch's default memory format."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = self.pool(torch.relu(self.second(x)))
        return self.classifier(x.view(x.size(0), -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [None, "shift", "flip", "cutout", "noise"])
def test_a_module_that_views_its_feature_maps_trains(channels: int, name: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, channels, 8, 8, generator=generator), torch.arange(90) % 10
    # the memory layout of a dataset's splits
    x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    options: dict[str, int] = {"shift": {"pixels": 1}, "cutout": {"size": 2}}.get(name or "", {})
    augmentation = () if name is None else (AUGMENTATIONS.config(name, **options),)
    settings = TrainingSpec(batch_size=32, augmentation=augmentation)
    data = Resident.from_tensors(x[:60], y[:60], x[60:], y[60:])
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        module = Viewing(channels)
        outcome = train(module, data, settings, epochs=2, seed=3)
        assert outcome.best_epoch is not None
        results.append(module)
    assert equal(*results)
    # Which format suits was tried on a batch, and that left no trace.
    assert int(results[0].norm.num_batches_tracked) == 2 * outcome.best_epoch


def test_a_hopeless_training_ends() -> None:
    settings = PLAIN.model_copy(
        update={"minimum_accuracy": ((1, 0.0), (2, 99.9), (4, 0.0)), "learning_rate": 1e-12}
    )
    outcome = train(small_cnn(), digits(), settings, epochs=6, seed=0)
    assert len(outcome.curve) == 2 and outcome.early and outcome.best_epoch is not None
    accuracy = 100 * (1 - outcome.curve[1].validation_error)
    assert f"the accuracy after epoch 2 is {accuracy:.2f} %, the minimum 99.9 %" in outcome.notes[-1]
    enough = PLAIN.model_copy(update={"minimum_accuracy": ((1, 0.0),)})
    assert len(train(small_cnn(), digits(), enough, epochs=2, seed=0).curve) == 2
