"""An optimizer, two schedules, an augmentation, a loss, a metric and a rule of ranges."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sparsemod.pruning.schedules import SCHEDULES as PRUNING_SCHEDULES
from sparsemod.pruning.schedules import Schedule as PruningSchedule
from sparsemod.quantization.ranges import RANGES, RangeRule
from sparsemod.spec import methods
from sparsemod.training.augmentation import AUGMENTATIONS, Augmentation
from sparsemod.training.losses import LOSSES, Loss
from sparsemod.training.metrics import METRICS, Metric, Score
from sparsemod.training.optimizers import OPTIMIZERS, Optimizer
from sparsemod.training.schedules import SCHEDULES, Schedule


class RmspropConfig(methods.OptimizerConfig):
    """Keys besides the name."""

    smoothing: float = Field(0.99, gt=0, lt=1, description="Decay of the mean of squared gradients.")


@OPTIMIZERS.register("rmsprop")
class Rmsprop(Optimizer[RmspropConfig]):
    """RMSprop (Hinton, 2012)."""

    Config = RmspropConfig

    def make(self, groups, learning_rate):
        return torch.optim.RMSprop(groups, lr=learning_rate, alpha=self.config.smoothing)


@SCHEDULES.register("linear")
class Linear(Schedule[methods.ScheduleConfig]):
    """The rate falls linearly to 0."""

    Config = methods.ScheduleConfig

    def factor(self, progress: float) -> float:
        return 1.0 - progress


@PRUNING_SCHEDULES.register("line")
class Line(PruningSchedule[methods.PruningScheduleConfig]):
    """Sparsity rises linearly."""

    Config = methods.PruningScheduleConfig

    def share(self, progress: float) -> float:
        return progress


@AUGMENTATIONS.register("negative")
class Negative(Augmentation[methods.AugmentationConfig]):
    """Changes the sign of half of the samples, at random."""

    Config = methods.AugmentationConfig

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        sign = torch.randint(0, 2, (len(x), *[1] * (x.dim() - 1)), generator=generator).to(x.device)
        return x * (1 - 2 * sign)


@LOSSES.register("squared")
class Squared(Loss[methods.LossConfig]):
    """Mean squared distance to the one-hot target."""

    Config = methods.LossConfig

    def mean(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return functional.mse_loss(outputs, functional.one_hot(targets, outputs.shape[1]).to(outputs.dtype))


class TopConfig(methods.MetricConfig):
    """Keys besides the name."""

    k: int = Field(2, ge=1, description="Number of largest outputs among which the class must be.")


@METRICS.register("top_error")
class TopError(Metric[TopConfig]):
    """Share of samples whose class is not among the largest k outputs."""

    Config = TopConfig

    def score(self, outputs, targets):
        best = outputs.reshape(len(outputs), -1).argsort(axis=1)[:, -self.config.k :]
        wrong = 1.0 - (best == targets[:, None]).any(axis=1).mean()
        return Score(float(wrong), float((wrong * (1 - wrong) / len(targets)) ** 0.5))


@RANGES.register("symmetric")
class Symmetric(RangeRule[methods.RangeConfig]):
    """All values, in a range symmetric about zero."""

    Config = methods.RangeConfig
    only_extremes = True

    def span(self, values):
        high = float(abs(values).max())
        return -high, high
