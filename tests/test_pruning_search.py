"""Pruning method and ratio as parameters of a search, and a low-rank method in the whole pipeline."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support_trials import tiny_data

from sparsemod.errors import InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import Screen, build
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import Candidate, DataInfo, TrialResult
from sparsemod.spec.experiment import ExperimentSpec

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
METHODS = ["magnitude", "PFPNet", "svd", "ALDSNet", "none"]


def spec_with(**changes: Any) -> ExperimentSpec:
    return ExperimentSpec.parse(
        {"dataset": {"name": "digits", "limit": 400}, "network": {"family": "cnn"}, **changes}
    )


SEARCHED = {
    "space": {
        "pruning_method": METHODS,
        "sparsity": [0.0, 0.5, 0.7],
        "blocks": 1,
        "b1_layers": 2,
        "b1_l1_filters": 12,
        "b1_l2_filters": 16,
        "b1_l1_type": "conv",
        "b1_l2_type": "conv",
    },
    "pruning": {"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.4}},
}


def drawn(method: str, sparsity: float) -> tuple[Problem, dict[str, Any]]:
    problem = Problem.of(spec_with(**SEARCHED), DIGITS)
    values = problem.space.complete({"pruning_method": method, "sparsity": sparsity})
    return problem, problem.space.validate(values)


def test_a_candidate_chooses_method_and_ratio() -> None:
    for method, expected in zip(METHODS, ["magnitude", "pfp", "svd", "alds", "none"], strict=True):
        problem, values = drawn(method, 0.5)
        config: Any = problem.pruning(values)
        assert config.method == expected
        assert "pruning_method" not in problem.architecture(values)
        if expected != "none":
            assert config.sparsity == 0.5 and config.schedule.begin == 0.4
    assert getattr(drawn("PFPNet", 0.5)[0].pruning({"pruning_method": "PFPNet"}), "of", "") == "weights"


def test_the_costs_of_a_method_are_screened_and_estimates_say_so() -> None:
    costs = {}
    for method in METHODS:
        problem, values = drawn(method, 0.7)
        found = Screen(problem).measure(values)
        costs[method] = found["parameters"].value
        assert ("an estimate" in found["parameters"].method) == (method in ("PFPNet", "ALDSNet"))
    assert costs["none"] == costs["magnitude"]
    assert max(costs["svd"], costs["ALDSNet"], costs["PFPNet"]) < 0.5 * costs["none"]
    problem, _ = drawn("svd", 0.5)
    screen = Screen(problem)
    both = [screen.measure(drawn(m, 0.7)[1])["parameters"].value for m in ("svd", "none")]
    assert both == [costs["svd"], costs["none"]], "the cache tells methods apart"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"pruning_method": ["magnitud"]}, r"space\.pruning_method = 'magnitud': .*did you mean magnitude"),
        ({"pruning_method": ["svd", "SiPNet"]}, r"space\.pruning_method = 'SiPNet': .*SiPPNet"),
        ({"pruning_method": ["svd"], "sparsity": [0.5, 1.2]}, r"space\.sparsity = 1\.2"),
        ({"pruning_method": ["none"], "sparsity": [0.5]}, r"space\.sparsity = .*needs pruning\.method"),
    ],
)
def test_mistakes_in_the_choice_are_named(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Problem.of(spec_with(space=space), DIGITS)


def run(method: str, workdir: Path, sparsity: float = 0.5, **more: Any) -> TrialResult:
    spec = spec_with(**SEARCHED, **more)
    candidate = Candidate(parameters=drawn(method, sparsity)[1], origin="manual", round="manual")
    return evaluate(spec, candidate, epochs=3, seed=1, data=tiny_data(spec), workdir=workdir)


@pytest.mark.parametrize("method", ["svd", "ALDSNet"])
def test_a_low_rank_trial_goes_through_the_pipeline(method: str, tmp_path: Path) -> None:
    result = run(method, tmp_path)
    assert result.state.value == "completed", result.failure
    values = {m.metric: m for m in result.measurements}
    whole = load_file(tmp_path / "weights.safetensors")
    weights = sum(t.numel() for n, t in whole.items() if t.dim() > 1)
    assert values["parameters"].value == pytest.approx(weights / 2, rel=0.1)
    assert values["flash"].value > 0 and values["instructions"].value > 0
    problem, values = drawn(method, 0.0)
    assert {n: t.shape for n, t in whole.items()} == {
        n: t.shape for n, t in build(problem, values, 0).state_dict().items()
    }, "the stored weights have the shapes before pruning, so that others can inherit them"
