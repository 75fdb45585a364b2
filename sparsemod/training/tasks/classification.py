"""One class for each sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparsemod.records import DataInfo
from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, ClassWeights, Task, class_weights

if TYPE_CHECKING:
    from sparsemod.training.losses import Loss

_MATRIX, _CLASSES = (
    20,
    200,
)  # classes up to which the details hold the confusion matrix, and each class's error


class ClassificationConfig(TaskConfig):
    """Keys of classification."""

    votes = True

    class_weights: ClassWeights = Field(
        None,
        description="Weight of each class in the loss: `balanced` (inverse to its share of the training samples), or a list.",
    )


@TASKS.register("classification")
class Classification(Task[ClassificationConfig]):
    """One class for each sample: the largest output."""

    Config = ClassificationConfig
    weights: NDArray[np.float32] | None = None

    def fit(self, y: NDArray[Any], info: DataInfo) -> None:
        """See Task. Raises InvalidInput for a list of weights that does not fit the classes."""
        self.weights = class_weights(self.config.class_weights, y, info.classes, "task.class_weights")

    def weigh(self, loss: "Loss[Any]") -> None:
        """See Task."""
        loss.weights = self.weights

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """See Task."""
        return confusion_details(predictions.reshape(len(predictions), -1).argmax(axis=1), y, names)


def confusion(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return the counts (classes, classes) of each true class (row) and predicted class (column)."""
    places = truth.reshape(-1).astype(np.int64) * classes + predicted.reshape(-1)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def confusion_details(predicted: NDArray[Any], truth: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return `classes` (names), `errors` (share of wrong answers of each true class, None without one) and `confusion`.

    `macro_error` is the mean of the errors over the classes that have samples. `macro_f1` is the mean of F1, the harmonic mean
    of precision and recall, over the classes that have samples or predictions. Many classes have no matrix, and very many no
    errors.
    """
    if len(names) > _CLASSES:
        return {}
    matrix = confusion(predicted, truth, len(names))
    counts = matrix.sum(axis=1)
    errors = [
        None if not count else round(1 - int(right) / int(count), 4)
        for right, count in zip(np.diag(matrix), counts, strict=True)
    ]
    true, either = np.diag(matrix), counts + matrix.sum(axis=0)
    found: dict[str, Any] = {
        "classes": list(names),
        "errors": errors,
        "counts": counts.tolist(),
        "macro_error": round(1 - float(np.mean(true[counts > 0] / counts[counts > 0])), 4),
        "macro_f1": round(float(np.mean(2 * true[either > 0] / either[either > 0])), 4),
    }
    if len(names) <= _MATRIX:
        found["confusion"] = matrix.tolist()
    return found
