"""Pruning schedules: the share of the final sparsity over the training."""

from typing import Any, TypeVar

from pydantic import Field, model_validator

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningScheduleConfig

C = TypeVar("C", bound=PruningScheduleConfig)


class Schedule(Plugin[C]):
    """Share of the final sparsity as a function of the finished share of training."""

    def share(self, progress: float) -> float:
        """Return the share at `progress` in [0, 1]: in [0, 1], never falling, 1 at the end."""
        raise NotImplementedError


SCHEDULES: Plugins[Schedule[Any], PruningScheduleConfig] = methods.PRUNING_SCHEDULES


class OneShotConfig(PruningScheduleConfig):
    """Keys of one-shot."""

    FORMER = frozenset({"end"})

    begin: float = Field(
        0.2, ge=0, lt=1, description="Share of the epochs after which all pruning happens at once."
    )


@SCHEDULES.register("one-shot")
class OneShot(Schedule[OneShotConfig]):
    """Everything at once; the rest of the training fine-tunes."""

    Config = OneShotConfig

    def share(self, progress: float) -> float:
        """Return 0 before `begin`, 1 from then on."""
        return float(progress >= self.config.begin)


class CubicConfig(PruningScheduleConfig):
    """Keys of cubic."""

    begin: float = Field(0.2, ge=0, lt=1, description="Share of the epochs after which pruning begins.")
    end: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Share of the epochs after which full sparsity is reached; the rest recovers.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "CubicConfig":
        if self.begin >= self.end:
            raise ValueError("begin must be before end")
        return self


@SCHEDULES.register("cubic")
class Cubic(Schedule[CubicConfig]):
    """1 - (1 - t)^3 with t running from 0 at `begin` to 1 at `end`: fast while weights are redundant, slow at the end.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017.
    """

    Config = CubicConfig

    def share(self, progress: float) -> float:
        """Return 0 until `begin`, 1 from `end` on, the cubic between."""
        begin, end = self.config.begin, self.config.end
        t = min(1.0, max(0.0, (progress - begin) / (end - begin)))
        return 1.0 - (1.0 - t) ** 3
