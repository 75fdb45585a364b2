"""When, during training, how much of the final sparsity is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sparsemod.errors import InvalidInput
from sparsemod.registry import Registry


class Schedule(Protocol):
    """Share of the final sparsity as a function of the share of training that is over."""

    def share(self, progress: float) -> float:
        """In [0, 1], never falling, 1 at `progress` = 1. `progress` in [0, 1]."""
        ...


SCHEDULES: Registry[Callable[[float, float], Schedule]] = Registry(
    "pruning schedule", "sparsemod.pruning_schedules", builtin=(__name__,)
)
"""Factories (begin, end) -> Schedule, by name."""


@SCHEDULES.register("one-shot")
@dataclass(frozen=True)
class OneShot:
    """Everything at once after `begin` of the training; the rest fine-tunes. `end` is not used."""

    begin: float = 0.2
    end: float = 1.0

    def __post_init__(self) -> None:
        _check(self.begin, self.end)

    def share(self, progress: float) -> float:
        """0 before `begin`, 1 from then on."""
        return float(progress >= self.begin)


@SCHEDULES.register("cubic")
@dataclass(frozen=True)
class Cubic:
    """1 - (1 - t)^3 with t running from 0 at `begin` to 1 at `end`: fast while weights are redundant, slow at
    the end.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017.
    """

    begin: float = 0.2
    end: float = 0.7

    def __post_init__(self) -> None:
        _check(self.begin, self.end)

    def share(self, progress: float) -> float:
        """0 until `begin`, 1 from `end` on, the cubic between."""
        t = min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))
        return 1.0 - (1.0 - t) ** 3


def _check(begin: float, end: float) -> None:
    if not 0 <= begin < 1:
        raise InvalidInput("pruning.begin", begin, "a share of the training: at least 0 and below 1")
    if not begin < end <= 1:
        raise InvalidInput(
            "pruning.end", end, f"a share of the training: above begin ({begin}) and at most 1"
        )
