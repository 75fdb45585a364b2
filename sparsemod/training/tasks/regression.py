"""Numbers for each sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.decoding import Decoding
from sparsemod.records import DataInfo
from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

_BINS, _POINTS = 24, 200  # of the details: bins of the differences, and points of the scatter plot


class RegressionConfig(TaskConfig):
    """Keys of regression: none."""

    targets = "values"
    loss = "mse"
    metric = "rmse"


@TASKS.register("regression")
class Regression(Task[RegressionConfig]):
    """Numbers for each sample.

    Networks are trained on targets with mean 0 and deviation 1; metrics and deployed networks have the targets' units.
    """

    Config = RegressionConfig
    offset: NDArray[np.float32] = np.zeros(1, np.float32)
    scale: NDArray[np.float32] = np.ones(1, np.float32)

    def fit(self, y: NDArray[Any], info: DataInfo) -> None:
        """See Task. A target that is constant keeps scale 1."""
        deviation = y.std(axis=0, dtype=np.float64)
        self.offset = y.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.scale = np.where(deviation > 1e-30, deviation, 1.0).astype(np.float32)

    def targets(self, x: "Tensor", y: "Tensor") -> "Tensor":
        """See Task."""
        import torch

        return (y - torch.from_numpy(self.offset)) / torch.from_numpy(self.scale)

    def predictions(self, outputs: NDArray[Any], inputs: NDArray[Any]) -> NDArray[Any]:
        """See Task."""
        return self.decoding().values(outputs)

    def decoding(self, scores: NDArray[Any] | None = None) -> Decoding:
        """See Task."""
        return Decoding("values", tuple(self.scale.tolist()), tuple(self.offset.tolist()))

    def details(self, predictions: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """Return, for each output, mean absolute and root mean squared error, a histogram of the differences, and points."""
        chosen = np.random.default_rng(0).permutation(len(y))[: _POINTS // y.shape[1]]
        outputs = []
        for place in range(y.shape[1]):
            found, truth = predictions[:, place].astype(np.float64), y[:, place].astype(np.float64)
            difference = found - truth
            counts, edges = np.histogram(difference, bins=_BINS)
            outputs.append({
                "name": names[place] if place < len(names) else str(place),
                "mae": float(np.abs(difference).mean()),
                "rmse": float(np.sqrt((difference**2).mean())),
                "counts": counts.tolist(),
                "low": float(edges[0]),
                "high": float(edges[-1]),
                "points": [[float(f"{a:.4g}"), float(f"{b:.4g}")] for a, b in zip(truth[chosen], found[chosen], strict=True)],
            })  # fmt: skip
        return {"outputs": outputs[:8]}
