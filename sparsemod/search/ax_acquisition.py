"""Ax's own default acquisition (noisy expected hypervolume improvement by Monte Carlo), as a fallback and to compare with.

It models every objective by a Gaussian process, the exact ones too, and takes minutes where the closed form takes a fraction of a second.
"""

import torch
from ax.adapter.registry import Generators
from ax.core.utils import get_pending_observation_features

from sparsemod.records import Value
from sparsemod.search.ax_experiment import client, quiet
from sparsemod.search.ax_space import from_ax
from sparsemod.search.history import History
from sparsemod.space import Space
from sparsemod.spec import ExperimentSpec


def ask(
    spec: ExperimentSpec, space: Space, history: History, n: int, round_number: int
) -> list[dict[str, Value]]:
    """Up to `n` candidates that meet the space's constraints. Pending trials are passed on to Ax; epochs are not: it knows no fidelity."""
    experiment = client(spec, space, history.all)._experiment
    with quiet(), torch.random.fork_rng(devices=[]):
        # Ax draws from torch's global generator; the fork leaves the caller's untouched.
        torch.manual_seed(hash((spec.seed, round_number, len(history.all))) % 2**31)
        model = Generators.BOTORCH_MODULAR(experiment=experiment, data=experiment.lookup_data())
        run = model.gen(n, pending_observations=get_pending_observation_features(experiment))
    found = [from_ax(space, arm.parameters) for arm in run.arms]
    return [values for values in found if space.meets_constraints(values)]
