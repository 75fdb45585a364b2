"""The projects in examples/ for each task: a small search of each, in its own folder."""

from pathlib import Path

import pytest
from support_docs import EXAMPLES

from sparsemod.data import load as load_data
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import Candidate
from sparsemod.search import sobol
from sparsemod.spec.files import load

SMALL = {
    "regression": {"samples": 300},
    "anomaly": {"samples": 400},
    "segmentation": {"samples": 80, "cell": 4},
}


@pytest.mark.parametrize("name", SMALL)
def test_an_example_finishes_a_trial(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    spec = load(EXAMPLES / name / f"{name}.yaml")
    dataset = spec.dataset.model_copy(update={"options": SMALL[name]})
    spec = spec.model_copy(update={"dataset": dataset})
    data = load_data(dataset, targets=spec.task.targets)
    problem = Problem.of(spec, data.info, imports=True)
    (parameters,) = sobol.candidates(problem.space, 0, 1)
    candidate = problem.candidate(Candidate(parameters=parameters, origin="sobol", round="r1"))
    result = evaluate(spec, candidate, epochs=2, seed=0, data=data, imports=True)
    assert result.state == "completed", result.failure
    assert set(spec.objectives) <= set(result.values())
    assert spec.quality == spec.objectives[0] != "error"
