"""Importance of parameters: total Sobol' indices, against exact values and against Ax's sensitivity analysis
of the same model."""

import warnings

import numpy as np
import pytest
import torch

from sparsemod.records import Candidate, TrialState
from sparsemod.search.importance import FEWEST, _Model, _total_indices, sensitivity
from sparsemod.sources.observation import Observation
from sparsemod.space.space import Real, Space

SPACE = Space([Real("major", 0.0, 1.0), Real("minor", 0.0, 1.0), Real("idle", 0.0, 1.0)])


def observations(count: int) -> list[Observation]:
    """A size whose logarithm is 3 major + minor."""
    rng = np.random.default_rng(3)
    found = []
    for index in range(count):
        values = SPACE.sample(rng)
        size = float(np.exp(3.0 * float(values["major"]) + float(values["minor"])))
        found.append(
            Observation(
                index=index,
                candidate=Candidate(parameters=values, origin="sobol", round="r1"),
                state=TrialState.COMPLETED,
                values={"model_size": size, "error": 0.2},
                epochs=1.0,
                failure=None,
                weights=None,
            )
        )
    return found


def test_indices_of_a_sum_are_its_shares_of_the_variance() -> None:
    found = sensitivity(SPACE, observations(60), "model_size")
    assert found is not None and found.trials == 60 and found.accuracy > 0.99
    assert list(found.indices) == ["major", "minor", "idle"]
    assert found.indices == pytest.approx({"major": 0.9, "minor": 0.1, "idle": 0.0}, abs=0.02)
    assert sensitivity(SPACE, observations(60), "model_size") == found


def test_few_trials_or_a_constant_say_nothing() -> None:
    assert sensitivity(SPACE, observations(FEWEST - 1), "model_size") is None
    assert sensitivity(SPACE, observations(30), "error") is None


def test_they_are_those_of_ax() -> None:
    from ax.utils.sensitivity.sobol_measures import SobolSensitivityGPMean

    rng = np.random.default_rng(5)
    features = rng.random((60, 3))
    # With an interaction: the shares add up to more than 1. They were worked out with 400,000 points of the function itself.
    model = _Model(features, np.sin(3.0 * features[:, 0]) + 2.0 * features[:, 0] * features[:, 1])
    ours = list(_total_indices(SPACE, model, np.zeros(0), seed=0).values())
    assert ours == pytest.approx([0.729, 0.364, 0.0], abs=0.01)
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not its `input_qmc`: that takes both halves of the design from one sequence, and gives an index above 1 here.
        theirs = SobolSensitivityGPMean(model._model, bounds, num_mc_samples=2**13)
        expected = theirs.total_order_indices().detach().numpy().ravel()
    assert ours == pytest.approx(list(expected), abs=0.03)
