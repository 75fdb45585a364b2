"""Ax's default acquisition (noisy expected hypervolume improvement by Monte Carlo), as fallback and for comparison.

It models every objective by a Gaussian process, the exact ones too, and takes minutes where the closed form
takes a fraction of a second.
"""

import os
import time
from pathlib import Path

import torch
from ax.adapter.base import Adapter
from ax.adapter.registry import Generators
from ax.core.data_utils import DataLoaderConfig
from ax.core.experiment import Experiment
from ax.core.utils import get_pending_observation_features

from sparsemod.records import Value
from sparsemod.search.ax_experiment import client, quiet
from sparsemod.search.ax_space import from_ax
from sparsemod.search.history import History
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec

STALE_SECONDS = 600.0
"""Seconds after which a build of BoTorch's compiled kernel, which takes a minute, counts as abandoned."""


def ask(
    spec: ExperimentSpec, space: Space, history: History, n: int, round_number: int
) -> list[dict[str, Value]]:
    """Return up to `n` candidates that meet the space's constraints.

    Ax gets the pending trials, but not the epochs: it models no fidelity.
    """
    forget_abandoned_builds()
    experiment = client(spec, space, history.all, history.bad_error)._experiment
    with quiet(), torch.random.fork_rng(devices=[]):
        # Ax draws from torch's global generator; the fork leaves the caller's untouched.
        torch.manual_seed(hash((spec.seed, round_number, len(history.all))) % 2**31)
        model = fitted(experiment)
        run = model.gen(n, pending_observations=get_pending_observation_features(experiment))
    candidates = [from_ax(space, arm.parameters) for arm in run.arms]
    return [values for values in candidates if space.meets_constraints(values)]


def fitted(experiment: Experiment) -> Adapter:
    """Return Ax's default model of every objective."""
    # Abandoned trials are candidates over a budget: without their costs Ax would suggest similar ones
    # again.
    return Generators.BOTORCH_MODULAR(
        experiment=experiment,
        data=experiment.lookup_data(),
        data_loader_config=DataLoaderConfig(fit_abandoned=True),
    )


def forget_abandoned_builds() -> None:
    """Remove the lock of a killed build.

    BoTorch compiles a kernel at its first use and would wait for the lock of the killed build forever.
    """
    place = os.environ.get("TORCH_EXTENSIONS_DIR") or Path("~/.cache/torch_extensions").expanduser()
    for lock in Path(place).glob("**/logei_fused_ext/lock"):
        try:
            if time.time() - lock.stat().st_mtime > STALE_SECONDS:
                lock.unlink()
        except FileNotFoundError:
            continue  # its build has ended meanwhile
