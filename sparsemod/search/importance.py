"""Importance of each parameter for each metric: total Sobol' indices of a Gaussian process on the trials.

The model is BoTorch's `SingleTaskGP` on the logit of the error and on the logarithm of every other metric.
Its mean is evaluated on Saltelli's design over the unit cube of the space, without constraints. Jansen's
estimator gives the share of the metric's variance in which a parameter takes part (Saltelli et al.,
"Variance based sensitivity analysis of model output", 2010). A conditional parameter counts where it is
active.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from sparsemod.quality import logit
from sparsemod.records import TrialState
from sparsemod.search.gp import FIT_POINTS, Floats, fidelity
from sparsemod.sources.observation import Observation
from sparsemod.space.space import Space
from sparsemod.units import METRICS, TRAINED

SAMPLES = 512
"""Base points of the design; each parameter adds as many evaluations of the model."""

FEWEST = 12
"""Smallest number of trials for a result."""

HELD_OUT = 0.2
"""Share of the trials held out to evaluate the model."""


@dataclass(frozen=True)
class Sensitivity:
    """Total indices (parameter -> index, largest first) of a metric.

    `accuracy`: R² on trials that the model was not fitted to; `trials`: number of all trials.
    """

    indices: dict[str, float]
    accuracy: float
    trials: int


def sensitivity(
    space: Space, observations: Sequence[Observation], metric: str, seed: int = 0
) -> Sensitivity | None:
    """Return the sensitivity of one metric, None for too few trials or a constant metric.

    Infeasible trials contribute costs too. Equal arguments give equal results.
    """
    trained = metric in TRAINED
    states = (TrialState.COMPLETED,) if trained else (TrialState.COMPLETED, TrialState.INFEASIBLE)
    used = [o for o in observations if o.state in states and metric in (o.values or {})]
    if len(used) < FEWEST or not space.free:
        return None
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(used))[: int(FIT_POINTS / (1 - HELD_OUT))])
    used = [used[row] for row in rows]
    raw = np.array([(o.values or {})[metric] for o in used])
    targets = logit(raw) if trained and METRICS[metric].bounded else np.log(np.maximum(raw, 1e-12))
    if float(targets.std()) < 1e-9:
        return None
    features = np.array([space.encode(o.candidate.parameters) for o in used])
    if trained:
        features = np.column_stack([features, [fidelity(o.epochs) for o in used]])
    test_rows = rng.permutation(len(used))[: max(2, int(HELD_OUT * len(used)))]
    train_rows = np.setdiff1d(np.arange(len(used)), test_rows)
    model = _Model(features[train_rows], targets[train_rows])
    spread = float(((targets[test_rows] - targets[test_rows].mean()) ** 2).sum())
    residual = float(((targets[test_rows] - model.mean(features[test_rows])) ** 2).sum())
    accuracy = 1.0 - residual / spread if spread > 0 else 0.0
    fixed = features[:, -1:].max(axis=0) if trained else np.zeros(0)
    indices = _total_indices(space, model, fixed, seed)
    ordered = dict(sorted(indices.items(), key=lambda item: (-item[1], item[0])))
    return Sensitivity(ordered, accuracy, len(used))


class _Model:
    """A Gaussian process on standardized targets."""

    def __init__(self, features: Floats, targets: Floats) -> None:
        import torch
        from botorch.exceptions.warnings import BotorchWarning
        from botorch.models import SingleTaskGP
        from botorch.optim.fit import fit_gpytorch_mll_scipy
        from gpytorch.mlls import ExactMarginalLogLikelihood

        self._centre, self._scale = float(targets.mean()), float(targets.std()) or 1.0
        standardized = torch.from_numpy((targets - self._centre) / self._scale)[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=BotorchWarning)  # see sparsemod.search.gp
            self._model = SingleTaskGP(
                torch.from_numpy(features.copy()), standardized, outcome_transform=None
            )
            likelihood = ExactMarginalLogLikelihood(self._model.likelihood, self._model)
            fit_gpytorch_mll_scipy(likelihood, options={"maxiter": 50})

    def mean(self, features: Floats) -> Floats:
        import torch

        self._model.eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predictions: Floats = self._model.posterior(torch.from_numpy(features)).mean.numpy()[:, 0]
        return self._centre + self._scale * predictions


def _total_indices(space: Space, model: _Model, fixed: Floats, seed: int) -> dict[str, float]:
    count = len(space.free)
    design = qmc.Sobol(2 * count, scramble=True, rng=np.random.default_rng(seed)).random(SAMPLES)
    a, b = design[:, :count], design[:, count:]

    def outputs(points: Floats) -> Floats:
        rows = np.array([space.encode(space.decode(point)) for point in points])
        return model.mean(np.column_stack([rows, np.tile(fixed, (len(rows), 1))]))

    base = outputs(a)
    variance = float(np.concatenate([base, outputs(b)]).var())
    indices = {}
    for place, parameter in enumerate(space.free):
        mixed = a.copy()
        mixed[:, place] = b[:, place]
        share = float(((base - outputs(mixed)) ** 2).mean() / 2.0)
        indices[parameter.name] = share / variance if variance > 1e-12 else 0.0
    return indices
