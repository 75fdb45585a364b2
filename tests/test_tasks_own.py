"""A user's own loss, metric and task, named by `module:attribute` in a spec."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support_tasks import PARAMETERS, spec_of
from torch import Tensor

from sparsemod.data import load
from sparsemod.errors import InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.plugins import Names
from sparsemod.records import Candidate
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import LossConfig, MetricConfig
from sparsemod.training.losses import Loss
from sparsemod.training.metrics import Metric, Score
from sparsemod.training.tasks.regression import Regression, RegressionConfig
from sparsemod.units import METRICS


class CubicConfig(LossConfig):
    targets = "values"


class Cubic(Loss[CubicConfig]):
    """Mean of the cubed absolute differences."""

    Config = CubicConfig
    calls = 0

    def mean(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        type(self).calls += 1
        cubes: Tensor = (outputs - targets).abs() ** 3
        return cubes.mean()


class LargestConfig(MetricConfig):
    targets = "values"
    key = "metric"


class Largest(Metric[LargestConfig]):
    """Largest absolute difference."""

    Config = LargestConfig

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
        return Score(float(np.abs(outputs - targets).max()), 0.0)


class GaugeConfig(RegressionConfig):
    """Keys of the task."""


class Gauge(Regression):
    """A regression under a name of its own."""

    Config = GaugeConfig


def test_a_trial_with_an_own_loss_metric_and_task(tmp_path: Path) -> None:
    content = spec_of("regression", tmp_path).to_dict()
    content["training"] |= {"loss": f"{__name__}:Cubic", "metric": f"{__name__}:Largest"}
    content["task"] = {"name": f"{__name__}:Gauge"}
    content |= {"objectives": ["error", "flash"], "reference_point": {"error": 200.0}}
    spec = ExperimentSpec.parse(content, names=Names.IMPORTED)
    assert spec.quality == "metric"
    data = load(spec.dataset, targets=spec.task.targets)
    problem = Problem.of(spec, data.info, imports=True)
    candidate = Candidate(parameters=PARAMETERS["mlp"], origin="manual", round="r1")
    result = evaluate(spec, problem.candidate(candidate), epochs=2, seed=1, data=data, imports=True)
    assert result.state == "completed", result.failure
    assert Cubic.calls > 0
    (measured,) = [m for m in result.measurements if m.metric == "metric"]
    assert 0 < measured.value < 200.0 and measured.unit == METRICS["metric"].unit


def test_an_own_metric_of_another_task_is_refused(tmp_path: Path) -> None:
    content = spec_of("classification", tmp_path).to_dict()
    content["training"] |= {"metric": f"{__name__}:Largest"}
    with pytest.raises(InvalidSpec, match=r"training\.metric"):
        ExperimentSpec.parse(content, names=Names.IMPORTED)
