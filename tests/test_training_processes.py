"""Training in two processes with averaged gradients (Gloo): equal to one process with the same batches."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support_training import RICH, digits, small_cnn
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.pruning import METHODS
from sparsemod.records import CurvePoint
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import TrainingOutcome, train
from sparsemod.training.parallel.group import Group
from sparsemod.training.parallel.norms import synchronized

TWO = RICH.model_copy(update={"processes": 2, "batch_size": 48})
ONE = TWO.model_copy(update={"processes": 1})


class Unlucky(nn.Module):
    """Fails in process 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.distributed.is_initialized() and torch.distributed.get_rank() and torch.is_grad_enabled():
            raise RuntimeError("out of luck in process 1")
        return x


def trained(
    settings: TrainingSpec, method: str = "magnitude", **more: Any
) -> tuple[nn.Module, TrainingOutcome]:
    module = small_cnn()
    pruner = METHODS.create(METHODS.read({"method": method, "sparsity": 0.5}))
    return module, train(module, digits(), settings, epochs=3, seed=3, pruner=pruner, **more)


def assert_near(
    found: tuple[nn.Module, TrainingOutcome], expected: tuple[nn.Module, TrainingOutcome]
) -> None:
    """Assert that two trainings computed the same sums in another order: batch norm, clipped gradients and Adam included."""
    assert found[1].best_epoch == expected[1].best_epoch
    for a, b in zip(expected[1].curve, found[1].curve, strict=True):
        assert (a.train_loss, a.validation_loss) == pytest.approx((b.train_loss, b.validation_loss), rel=1e-3)
    for (name, one), two in zip(
        expected[0].state_dict().items(), found[0].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(two, one, rtol=2e-3, atol=2e-4, msg=name)


@pytest.mark.long
def test_two_processes_equal_one() -> None:
    points: list[CurvePoint] = []
    found = trained(TWO, on_epoch=points.append)
    assert_near(found, trained(ONE))
    assert [point.epoch for point in points] == [1, 2, 3] and not torch.distributed.is_initialized()
    weights = [p for p in found[0].parameters() if p.dim() > 1]
    assert sum(int(w.count_nonzero()) for w in weights) == round(0.5 * sum(w.numel() for w in weights))


@pytest.mark.long
def test_a_stopped_training_of_two_processes_goes_on() -> None:
    points: list[CurvePoint] = []
    checkpoints: list[bytes] = []
    _, part = trained(
        TWO, on_epoch=points.append, on_checkpoint=checkpoints.append, should_stop=lambda: len(points) == 2
    )
    assert part.stopped and len(points) == len(checkpoints) == 2
    assert_near(trained(TWO, resume=part.checkpoint), trained(ONE))


@pytest.mark.long
def test_low_rank_layers_replaced_within_a_training_are_averaged_too() -> None:
    found = trained(TWO, method="svd")
    assert_near(found, trained(ONE, method="svd"))


@pytest.mark.long
def test_the_error_of_another_process_is_reported() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)process 1 of the training ended.*out of luck in process 1"):
        train(nn.Sequential(small_cnn(), Unlucky()), digits(), TWO, epochs=1, seed=0)


def test_a_network_that_cannot_be_sent_is_refused() -> None:
    class Local(nn.Module):
        """A class that other processes cannot import."""

    with pytest.raises(InvalidInput, match=r"training\.processes = 2: 1 for this network.*Local"):
        train(nn.Sequential(small_cnn(), Local()), digits(), TWO, epochs=1, seed=0)


def test_a_batch_is_divided_without_rest() -> None:
    x, y, indices = torch.arange(7.0)[:, None], torch.arange(7), torch.arange(7) + 10
    parts = [Group(rank, 3, torch.device("cpu")).share(x, y, indices) for rank in range(3)]
    assert torch.cat([part[1] for part in parts]).tolist() == list(range(7))
    assert torch.cat([part[2] for part in parts]).tolist() == list(range(10, 17))
    means = [float(part[0].mean()) * part[3] for part in parts]  # type: ignore[union-attr]
    assert sum(means) / 3 == pytest.approx(float(x.mean()))
    few = [Group(rank, 3, torch.device("cpu")).share(x[:2], y[:2], indices[:2]) for rank in range(3)]
    assert sorted(part[3] for part in few) == [0.0, 1.5, 1.5] and all(len(part[1]) == 1 for part in few)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_batch_norm_of_several_processes_is_that_of_torch(
    momentum: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)  # a group of one process
    plain, ours = nn.BatchNorm2d(4, momentum=momentum), nn.BatchNorm2d(4, momentum=momentum)
    x = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [plain(inputs[0])]
    with synchronized(ours, lambda: False):
        outputs.append(ours(inputs[1]))
    for out in outputs:
        (out * torch.arange(4.0)[:, None, None] + out**3).sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)
    assert "forward" not in vars(ours)


def test_a_batch_has_a_sample_for_each_process() -> None:
    with pytest.raises(ValidationError, match="batch_size is 2, less than the 4 processes"):
        TrainingSpec(batch_size=2, processes=4)
