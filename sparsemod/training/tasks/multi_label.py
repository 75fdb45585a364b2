"""Any number of labels for each sample."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, Task


class MultiLabelConfig(TaskConfig):
    """Keys of multi-label: none."""

    targets = "labels"
    loss = "binary_cross_entropy"
    metric = "label_f1_error"


@TASKS.register("multi-label")
class MultiLabel(Task[MultiLabelConfig]):
    """Any number of labels for each sample: those whose output is above 0, a probability above one half."""

    Config = MultiLabelConfig

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """Return the share of wrong answers for each label."""
        wrong = ((predictions > 0) != (y > 0.5)).mean(axis=0)
        return {"classes": list(names), "errors": [round(float(share), 4) for share in wrong], "counts": (y > 0.5).sum(axis=0).tolist()}  # fmt: skip
