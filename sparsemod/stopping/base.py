"""What a stopping rule sees, and the base of the rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparsemod.objectives import Objectives
from sparsemod.plugins import Plugin, Plugins
from sparsemod.quality import Quality, logit
from sparsemod.records import CurvePoint
from sparsemod.spec import methods
from sparsemod.spec.methods import StoppingConfig

Floats = npt.NDArray[np.float64]
C = TypeVar("C", bound=StoppingConfig)


@dataclass(frozen=True)
class Training:
    """A training: its planned `epochs`, exact `costs` (metric -> value) and the task's metric after each finished epoch.

    `inherits`: whether it began from a parent's weights. `values`: metric -> measured value of a completed trial, empty
    for others.
    """

    index: int
    epochs: int
    inherits: bool
    costs: Mapping[str, float]
    errors: tuple[float, ...]
    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        index: int,
        epochs: int,
        parent: int | None,
        costs: Mapping[str, float],
        curve: Sequence[CurvePoint],
        values: Mapping[str, float],
    ) -> "Training":
        """Return a trial as a training. Its curve ends where an epoch is missing or at the planned `epochs`: later
        epochs belong to another stage."""
        errors: list[float] = []
        for point in sorted(curve, key=lambda one: one.epoch):
            if point.epoch != len(errors) + 1 or not math.isfinite(point.validation_error):
                break
            errors.append(point.validation_error)
        return cls(index, epochs, parent is not None, costs, tuple(errors[:epochs]), values)


@dataclass(frozen=True)
class Peers:
    """The other trainings of an experiment, with its objectives and the task's metric."""

    trainings: Sequence[Training]
    objectives: Objectives
    quality: Quality

    @cached_property
    def front(self) -> list[Mapping[str, float]]:
        """The values of the completed trials on the front."""
        rows = [t.values for t in self.trainings if t.values]
        return [rows[i] for i in self.objectives.front(rows)]

    @property
    def known(self) -> list[str]:
        """The objectives besides the task's metric."""
        return [name for name in self.objectives.names if name != self.quality.name]

    def logits(self, errors: npt.ArrayLike) -> Floats:
        """Return values of the task's metric on the scale of the curve models."""
        return logit(self.quality.share(errors))

    def ceiling(self, costs: Mapping[str, float]) -> float:
        """Return the value below which the task's metric puts a network of these costs on the front.

        Infinity: any value does. Minus infinity: none does. An objective without exact costs rules nothing out.
        """
        metric = self.quality.name
        limit = self.objectives.budgets.get(metric, math.inf)
        for row in self.front:
            if all(name in costs and row[name] <= costs[name] for name in self.known):
                limit = min(limit, row[metric]) if metric in self.objectives.names else -math.inf
        return limit


@dataclass(frozen=True)
class Verdict:
    """Why a training ends. `probability`: of ending on the front, None where the rule computes none."""

    reason: str
    probability: float | None = None


class Rule(Plugin[C]):
    """Decides between epochs whether a training ends."""

    def judge(self, training: Training, peers: Peers) -> Verdict | None:
        """Return why `training` ends now, None while it continues. The last epoch is not judged.

        Equal arguments give equal answers.
        """
        raise NotImplementedError


STOPPING: Plugins[Rule[Any], StoppingConfig] = methods.STOPPING
