"""Small data sets of each task, and one trained trial of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data import Dataset, load
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.quantization import IntegerNetwork
from sparsemod.records import Candidate, TrialResult
from sparsemod.spec.experiment import ExperimentSpec

TASKS = ("classification", "regression", "multi-label", "anomaly", "per-pixel")
FAMILIES = {"anomaly": "autoencoder", "per-pixel": "fcn"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "mlp": {"layers": 1, "l1_width": 8, "dropout": 0.0},
    "autoencoder": {"layers": 1, "l1_width": 8, "code": 3},
    "fcn": {"blocks": 2, "b1_filters": 4, "b1_kernel": 3, "b2_filters": 6, "b2_kernel": 3, "skip": "add"},
}


def arrays(task: str, count: int = 120) -> dict[str, NDArray[Any]]:
    """Return `x` and `y` of a task that a small network learns: text for classes, floats for values."""
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, (count, 6)).astype(np.float32)
    first, second = x[:, 0] > 2, x[:, 1] > 2
    if task == "classification":
        return {"x": x, "y": np.array(["down", "still", "up"])[first * 1 + second * 1]}
    if task == "regression":
        return {
            "x": x,
            "y": np.stack([100 + 20 * x[:, 0], 5 - x[:, 1]], axis=1),
            "names": np.array(["watts", "volts"]),
        }
    if task == "multi-label":
        return {"x": x, "y": np.stack([first, second, first & second], axis=1).astype(np.int64)}
    if task == "anomaly":
        x[:, 3:] = 0.5 * x[:, :3]
        odd = np.arange(count) % 6 == 0
        x[odd, 3:] = rng.normal(2.0, 3.0, (odd.sum(), 3))
        return {"x": x, "y": odd.astype(np.int64)}
    images = rng.normal(0.0, 0.3, (count, 2, 8, 8)).astype(np.float32)
    masks = np.zeros((count, 8, 8), np.int64)
    for image, mask in zip(images, masks, strict=True):
        row, column = rng.integers(0, 5, 2)
        mask[row : row + 4, column : column + 4] = 1
        image[:, row : row + 4, column : column + 4] += 2
    return {"x": images, "y": masks}


def spec_of(task: str, folder: Path, /, **more: Any) -> ExperimentSpec:
    """Return a spec of the task on `arrays`, written into `folder`."""
    place = folder / f"{task}.npz"
    if not place.exists():
        np.savez(place, **arrays(task))  # type: ignore[arg-type]
    reference = {"reference_point": {"error": 60.0}} if task == "regression" else {}
    content = {
        "task": task,
        "dataset": {"name": "npz", "options": {"path": str(place)}},
        "network": {"family": FAMILIES.get(task, "mlp")},
        "objectives": ["error", "flash"],
        "training": {"learning_rate": 0.01, "batch_size": 16},
        **reference,
        **more,
    }
    return ExperimentSpec.parse(content)


@dataclass(frozen=True)
class Trained:
    """A finished trial of a task."""

    spec: ExperimentSpec
    data: Dataset
    result: TrialResult
    network: IntegerNetwork


def trained(task: str, folder: Path, /, epochs: int = 12, **more: Any) -> Trained:
    """Train one small network of a task and measure it, on test data too."""
    spec = spec_of(task, folder, **more)
    data = load(spec.dataset, targets=spec.task.targets)
    problem = Problem.of(spec, data.info)
    candidate = Candidate(parameters=PARAMETERS[spec.network.family], origin="manual", round="r1")
    work = folder / f"{task}-work"
    work.mkdir(exist_ok=True)
    result = evaluate(
        spec, problem.candidate(candidate), epochs=epochs, seed=1, data=data, workdir=work, mode="test"
    )
    return Trained(spec, data, result, IntegerNetwork.load(work / "network.npz"))
