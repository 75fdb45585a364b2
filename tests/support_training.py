"""Small data and networks, settings and a pruner for tests of training."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from sparsemod.data import load
from sparsemod.spec.methods import AUGMENTATIONS, PRUNING, SCHEDULES
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident
from sparsemod.training.context import TrainingContext

PLAIN = TrainingSpec(batch_size=32, learning_rate=0.01)
RICH = TrainingSpec(
    batch_size=50,
    label_smoothing=0.1,
    gradient_clip=1.0,
    weight_decay=1e-3,
    schedule=SCHEDULES.config("cosine", warmup=1),
    augmentation=(AUGMENTATIONS.config("shift", pixels=1), AUGMENTATIONS.config("noise")),
)


def digits() -> Resident:
    """scikit-learn's digits, 400 samples."""
    return Resident.of(load(DatasetSpec(name="digits", limit=400)))


def small_cnn(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """A convolution network with batch norm for digits."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(32, 10),
    )


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether all weights and buffers are equal bit for bit."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Halve:
    """A pruner for tests: half of the last layer's weights go in the middle of the training."""

    def __init__(self) -> None:
        self.at_target = False
        self.finished = False

    config = PRUNING.config("none")
    restarts = False

    def start(self, context: TrainingContext) -> None:
        self.weight = [m for m in context.module.modules() if isinstance(m, nn.Linear)][-1].weight
        self.mask = torch.ones_like(self.weight)

    def before_epoch(self, epoch: int, epochs: int) -> None:
        if epoch > epochs // 2 and not self.at_target:
            self.mask[:, ::2] = 0
            self.at_target = True
            self.after_step()

    def after_step(self) -> None:
        with torch.no_grad():
            self.weight.mul_(self.mask)

    @property
    def sparsity(self) -> float:
        return 1 - float(self.mask.mean())

    def finish(self) -> None:
        self.finished = True

    def state_dict(self) -> dict[str, Any]:
        return {"masks": {"last": self.mask}, "at_target": self.at_target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mask, self.at_target = state["masks"]["last"], state["at_target"]
        self.after_step()


def stop_after(count: int) -> Callable[[], bool]:
    """Return a function that returns True from its (count + 1)th call on."""
    calls = iter([False] * count)
    return lambda: next(calls, True)
