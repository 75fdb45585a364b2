"""Normal or anomalous: a network learns to reproduce normal samples."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparsemod.decoding import Decoding
from sparsemod.records import DataInfo
from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

_BINS = 24


class AnomalyConfig(TaskConfig):
    """Keys of anomaly."""

    targets = "normal"
    loss = "mse"
    metric = "auc_error"

    quantile: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="Share of the normal validation samples with a score of at most the threshold in the C code.",
    )


@TASKS.register("anomaly")
class Anomaly(Task[AnomalyConfig]):
    """Normal (0) or anomalous (1): an autoencoder learns to reproduce the normal training samples.

    The score of a sample is the mean squared difference of the normalized sample and the network's output for it.
    """

    Config = AnomalyConfig

    def network_info(self, info: DataInfo) -> DataInfo:
        """See Task. The network has one output for each number of the flattened sample."""
        size = math.prod(info.shape)
        return info.model_copy(update={"classes": size, "outputs": (size,)})

    def trained_on(self, y: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the normal samples."""
        return np.asarray(y == 0)

    def targets(self, x: "Tensor", y: "Tensor") -> "Tensor":
        """Return the flattened samples."""
        return x.reshape(len(x), -1).contiguous()

    def predictions(self, outputs: NDArray[Any], inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the scores (N,)."""
        difference = inputs.reshape(len(inputs), -1).astype(np.float64) - outputs.reshape(len(outputs), -1)
        return np.asarray((difference**2).mean(axis=1))

    def decoding(self, scores: NDArray[Any] | None = None) -> Decoding:
        """See Task. The threshold is a quantile of `scores`."""
        known = scores is not None and len(scores) > 0
        return Decoding(
            "normal", threshold=float(np.quantile(scores, self.config.quantile)) if known and scores is not None else None
        )  # fmt: skip

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """Return histograms of the scores of normal and of anomalous samples, over the logarithm of the score."""
        logs = np.log10(np.maximum(predictions, 1e-12))
        edges = np.histogram_bin_edges(logs, _BINS)
        return {
            "scores": {
                "low": float(edges[0]),
                "high": float(edges[-1]),
                "normal": np.histogram(logs[y == 0], edges)[0].tolist(),
                "anomalous": np.histogram(logs[y != 0], edges)[0].tolist(),
            }
        }
