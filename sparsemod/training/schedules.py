"""Learning rates over a training, as factors of the initial rate."""

import math
from collections.abc import Callable

from sparsemod.registry import Registry
from sparsemod.spec.training import ScheduleSpec

Shape = Callable[[float, ScheduleSpec], float]
"""(share of the training after the warm-up that is over, in [0, 1); settings) -> factor."""

SCHEDULES: Registry[Shape] = Registry("learning-rate schedule", "sparsemod.schedules")


@SCHEDULES.register("constant")
def constant(progress: float, settings: ScheduleSpec) -> float:
    """Always 1."""
    return 1.0


@SCHEDULES.register("cosine")
def cosine(progress: float, settings: ScheduleSpec) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULES.register("step")
def step(progress: float, settings: ScheduleSpec) -> float:
    """Falls to `factor` of itself at each milestone."""
    return float(settings.factor ** sum(progress >= milestone for milestone in settings.milestones))


@SCHEDULES.register("exponential")
def exponential(progress: float, settings: ScheduleSpec) -> float:
    """From 1 to `factor`, by the same ratio at every step."""
    return float(settings.factor**progress)


class LearningRate:
    """The rate of every step: linear warm-up over `warmup` epochs from 1/steps of it, then the schedule's shape over the rest."""

    def __init__(self, base: float, settings: ScheduleSpec, epochs: int, steps_per_epoch: int) -> None:
        """`base` is the rate at factor 1. A warm-up as long as the training leaves nothing else. Raises UnknownName."""
        self._base, self._settings = base, settings
        self._shape = SCHEDULES.get(settings.name, field="training.schedule.name")
        self._total = epochs * steps_per_epoch
        self._warmup = min(settings.warmup * steps_per_epoch, self._total)

    def at(self, step: int) -> float:
        """The rate of step `step`, counted from 0 over the whole training."""
        if step < self._warmup:
            return self._base * (step + 1) / self._warmup
        return self._base * self._shape(
            (step - self._warmup) / max(1, self._total - self._warmup), self._settings
        )
