"""Losses. One class each."""

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import LossConfig, Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

C = TypeVar("C", bound=LossConfig)


class Loss(Plugin[C]):
    """A loss that training minimizes.

    `weights`: a weight for each class (classes,), from the task; None for equal weights.
    """

    weights: "NDArray[np.float32] | None" = None

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """Return the mean loss of a batch, a scalar with its gradient.

        `outputs` (N, classes), `targets` (N,) int64; for a map (N, classes, H, W) and (N, H, W) int64; for other
        tasks `targets` are float32 in the shape of the outputs. `smoothing`: label smoothing, 0 unless the config's
        `smooths` is true.
        """
        raise NotImplementedError

    def of_classes(self, function: "Callable[..., Tensor]", outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return `function` of outputs and targets, where classes (N,) int64 become 1 for the class and 0 for the others.

        `function` takes the argument `reduction`. The mean over the samples has the weights of their classes.
        """
        import torch

        if targets.is_floating_point():
            return function(outputs, targets)
        truth = torch.zeros_like(outputs).scatter_(1, targets.unsqueeze(1), 1.0)
        weights = self.weight(outputs)
        if weights is None:
            return function(outputs, truth)
        each = function(outputs, truth, reduction="none").mean(1)
        chosen = weights[targets]
        return (each * chosen).sum() / chosen.sum()

    def weight(self, outputs: "Tensor") -> "Tensor | None":
        """Return `weights` as a tensor beside `outputs`."""
        import torch

        return None if self.weights is None else torch.from_numpy(self.weights).to(outputs.device)


LOSSES: Plugins[Loss[Any], LossConfig] = methods.LOSSES


class CrossEntropyConfig(LossConfig):
    """Keys of cross_entropy: none."""

    smooths = True


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss[CrossEntropyConfig]):
    """Cross entropy of the softmax of the outputs, with label smoothing."""

    Config = CrossEntropyConfig

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        return functional.cross_entropy(
            outputs, targets, weight=self.weight(outputs), label_smoothing=smoothing
        )


class PixelCrossEntropyConfig(CrossEntropyConfig):
    """Keys of pixel_cross_entropy: none."""

    targets = "pixels"


@LOSSES.register("pixel_cross_entropy")
class PixelCrossEntropy(CrossEntropy):
    """Cross entropy of the softmax over the channels at each position, with label smoothing."""

    Config = PixelCrossEntropyConfig


class BinaryCrossEntropyConfig(LossConfig):
    """Keys of binary_cross_entropy: none."""

    targets = "labels"
    also: ClassVar[tuple[Targets, ...]] = ("classes",)


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss[BinaryCrossEntropyConfig]):
    """Cross entropy of the sigmoid of each output, the mean over samples and labels; a class is a label of its own."""

    Config = BinaryCrossEntropyConfig

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        return self.of_classes(functional.binary_cross_entropy_with_logits, outputs, targets)


class NumbersConfig(LossConfig):
    """Base of the losses between numbers: they serve regression and autoencoders."""

    targets = "values"
    also: ClassVar[tuple[Targets, ...]] = ("normal",)


class Numbers(Loss[C]):
    """Base of the losses between numbers."""

    function: ClassVar[str]

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        loss: Tensor = getattr(functional, self.function)(outputs, targets)
        return loss


class MeanSquaredErrorConfig(NumbersConfig):
    """Keys of mse: none."""

    also: ClassVar[tuple[Targets, ...]] = ("normal", "classes")


@LOSSES.register("mse")
class MeanSquaredError(Loss[MeanSquaredErrorConfig]):
    """Mean squared difference of outputs and targets; a class is 1 in its own output and 0 in the others."""

    Config = MeanSquaredErrorConfig

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        return self.of_classes(functional.mse_loss, outputs, targets)


@LOSSES.register("l1")
class MeanAbsoluteError(Numbers[NumbersConfig]):
    """Mean absolute difference of outputs and targets."""

    Config = NumbersConfig
    function = "l1_loss"


class HuberConfig(NumbersConfig):
    """Keys of huber."""

    delta: float = Field(
        1.0,
        gt=0,
        description="Difference, in deviations of the target, up to which the loss is quadratic; linear beyond.",
    )


@LOSSES.register("huber")
class Huber(Loss[HuberConfig]):
    """Quadratic for small differences, linear for large ones (Huber 1964)."""

    Config = HuberConfig

    def mean(self, outputs: "Tensor", targets: "Tensor", smoothing: float = 0.0) -> "Tensor":
        """See Loss."""
        from torch.nn import functional

        return functional.huber_loss(outputs, targets, delta=self.config.delta)
