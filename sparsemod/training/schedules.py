"""Learning-rate schedules, as factors of the initial rate."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import Field

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import ScheduleConfig

C = TypeVar("C", bound=ScheduleConfig)


class Schedule(Plugin[C]):
    """The learning rate after the warm-up."""

    def factor(self, progress: float) -> float:
        """Return the factor of the initial rate.

        `progress` is the finished share of the training after the warm-up, in [0, 1).
        """
        raise NotImplementedError

    def factor_at(self, step: int, steps: int) -> float:
        """Return the factor at a step of the training after the warm-up, from 0, of `steps` in all."""
        return self.factor(step / max(1, steps))


SCHEDULES: Plugins[Schedule[Any], ScheduleConfig] = methods.SCHEDULES


class SmoothConfig(ScheduleConfig):
    """Keys of constant and cosine."""

    FORMER = frozenset({"milestones", "factor"})


@SCHEDULES.register("constant")
class Constant(Schedule[SmoothConfig]):
    """The initial rate all the time."""

    Config = SmoothConfig

    def factor(self, progress: float) -> float:
        """Return 1."""
        return 1.0


@SCHEDULES.register("cosine")
class Cosine(Schedule[SmoothConfig]):
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, 2017, without restarts)."""

    Config = SmoothConfig

    def factor(self, progress: float) -> float:
        """See Schedule."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))


class StepConfig(ScheduleConfig):
    """Keys of step."""

    milestones: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        (0.5, 0.75), description="Shares of the epochs after which the rate drops."
    )
    factor: float = Field(0.1, gt=0, lt=1, description="Factor of each drop.")


@SCHEDULES.register("step")
class Step(Schedule[StepConfig]):
    """The rate drops by a factor at each milestone."""

    Config = StepConfig

    def factor(self, progress: float) -> float:
        """See Schedule."""
        return float(self.config.factor ** sum(progress >= m for m in self.config.milestones))


class StepLrConfig(ScheduleConfig):
    """Keys of step_lr."""

    gamma: float = Field(0.95, gt=0, le=1, description="Factor of each drop. `learning_gamma` searches it.")
    period: float = Field(
        1.0, gt=0, description="Thousands of steps (batches) between two drops. `learning_step` searches it."
    )


@SCHEDULES.register("step_lr")
class StepLr(Schedule[StepLrConfig]):
    """The rate drops by a factor each time a number of steps has passed, as torch's StepLR does in SpArSeMod."""

    Config = StepLrConfig

    def factor(self, progress: float) -> float:
        """Return 1: the number of steps decides, see `factor_at`."""
        return 1.0

    def factor_at(self, step: int, steps: int) -> float:
        """See Schedule."""
        return float(self.config.gamma ** (step // max(1, round(1000 * self.config.period))))


class ExponentialConfig(ScheduleConfig):
    """Keys of exponential."""

    FORMER = frozenset({"milestones"})

    factor: float = Field(0.1, gt=0, lt=1, description="Factor over the whole training.")


@SCHEDULES.register("exponential")
class Exponential(Schedule[ExponentialConfig]):
    """The rate falls from 1 to `factor`, by the same ratio at every step."""

    Config = ExponentialConfig

    def factor(self, progress: float) -> float:
        """See Schedule."""
        return float(self.config.factor**progress)


class LearningRate:
    """The rate of every step: linear warm-up over `warmup` epochs from 1/steps of it, then the schedule."""

    def __init__(self, base: float, config: ScheduleConfig, epochs: int, steps_per_epoch: int) -> None:
        """Raise UnknownName for an unknown schedule. `base` is the rate at factor 1.

        If the warm-up is as long as the training, the schedule has no effect.
        """
        self._base = base
        self._schedule = SCHEDULES.create(config)
        self._total = epochs * steps_per_epoch
        self._warmup = min(config.warmup * steps_per_epoch, self._total)

    def at(self, step: int) -> float:
        """Return the rate of step `step`, counted from 0 over the whole training."""
        if step < self._warmup:
            return self._base * (step + 1) / self._warmup
        return self._base * self._schedule.factor_at(step - self._warmup, self._total - self._warmup)
