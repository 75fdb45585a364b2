"""A class for each position of a grid: segmentation, and coarse grids that locate objects."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparsemod.errors import InvalidInput
from sparsemod.records import DataInfo
from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, ClassWeights, Task, class_weights
from sparsemod.training.tasks.classification import confusion_details

if TYPE_CHECKING:
    from sparsemod.training.losses import Loss


class PerPixelConfig(TaskConfig):
    """Keys of per-pixel."""

    targets = "pixels"
    loss = "pixel_cross_entropy"
    metric = "iou_error"

    class_weights: ClassWeights = Field(
        None,
        description="Weight of each class in the loss: `balanced` (inverse to its share of the pixels), or a list.",
    )


@TASKS.register("per-pixel")
class PerPixel(Task[PerPixelConfig]):
    """A class for each position of a grid (H, W): the image's own size, or a coarser one."""

    Config = PerPixelConfig
    weights: NDArray[np.float32] | None = None

    def network_info(self, info: DataInfo) -> DataInfo:
        """See Task. Raises InvalidInput for data without a class for each position."""
        if len(info.outputs) != 3:
            raise InvalidInput(
                "task",
                "per-pixel",
                f"data with targets (N, H, W); {info.name} has one target for each sample",
            )
        return info

    def fit(self, y: NDArray[Any], info: DataInfo) -> None:
        """See Task. Raises InvalidInput for a list of weights that does not fit the classes."""
        self.weights = class_weights(self.config.class_weights, y, info.classes, "task.class_weights")

    def weigh(self, loss: "Loss[Any]") -> None:
        """See Task."""
        loss.weights = self.weights

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """See Task."""
        return confusion_details(predictions.argmax(axis=1), y, names)
