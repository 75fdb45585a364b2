"""The interface of tasks.

A task decides what the loss compares the outputs with, what the metric gets, and what the C code makes of the
outputs. `fit` reads the constants that it needs from the training targets, so that equal data give equal tasks.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from sparsemod.decoding import Decoding
from sparsemod.errors import InvalidInput
from sparsemod.plugins import Plugin, Plugins
from sparsemod.records import DataInfo
from sparsemod.spec import methods
from sparsemod.spec.methods import TaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.training.losses import Loss

C = TypeVar("C", bound=TaskConfig)


def _weights(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in value
    )
    if value is None or value == "balanced":
        return value
    if numbers and value:
        return tuple(float(one) for one in value)
    raise ValueError("balanced, or a list with a number above 0 for each class")


ClassWeights = Annotated[Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_weights)]


class Task(Plugin[C]):
    """A task. `y` are always the targets of a split, as `sparsemod.data.Split` describes them."""

    def network_info(self, info: DataInfo) -> DataInfo:
        """Return the facts from which a family builds networks: `classes` outputs, in the shape `outputs`.

        Raises InvalidInput for samples that the task cannot use.
        """
        return info

    def fit(self, y: NDArray[Any], info: DataInfo) -> None:
        """Compute the task's constants from the targets of the training split."""

    def weigh(self, loss: "Loss[Any]") -> None:
        """Give the loss the weights of the classes, if the task has any."""

    def trained_on(self, y: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which samples the loss counts (N,); None for all."""
        return None

    def targets(self, x: "Tensor", y: "Tensor") -> "Tensor":
        """Return what the loss compares the outputs for `x` (N, *shape) with, in the form of the outputs."""
        return y

    def predictions(self, outputs: NDArray[Any], inputs: NDArray[Any]) -> NDArray[Any]:
        """Return what the metric gets: predictions from outputs (N, *outputs) for normalized inputs (N, *shape)."""
        return outputs

    def decoding(self, scores: NDArray[Any] | None = None) -> Decoding:
        """Return what the outputs mean in deployed code. `scores`: predictions for the normal validation samples."""
        return Decoding(self.config.targets)

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """Return facts about the predictions for the trial's page, as plain data of at most a few kilobytes."""
        return {}


TASKS: Plugins[Task[Any], TaskConfig] = methods.TASKS


def blank_targets(kind: methods.Targets, info: DataInfo, count: int, device: str) -> "Tensor":
    """Return `count` targets of zeros in the form that losses with the targets `kind` get."""
    import torch

    shape = {"classes": (), "pixels": info.outputs[1:]}.get(kind, info.outputs)
    whole = kind in ("classes", "pixels")
    return torch.zeros(count, *shape, dtype=torch.int64 if whole else torch.float32, device=device)


def class_weights(given: Any, y: NDArray[Any], count: int, field: str) -> NDArray[np.float32] | None:
    """Return a weight for each of `count` classes: None, "balanced" (inverse frequency in `y`) or the given ones.

    Raises InvalidInput.
    """
    if given is None:
        return None
    if given == "balanced":
        counts = np.bincount(y.reshape(-1), minlength=count)
        return np.asarray(y.size / (count * np.maximum(counts, 1)), np.float32)
    if len(given) != count:
        raise InvalidInput(field, list(given), f"balanced, or one number for each of {count} classes")
    return np.asarray(given, np.float32)
