"""The model of the error and the estimate of the costs."""

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from numpy.testing import assert_allclose
from support_search import SPACE, costs

from sparsemod.quality import error_of, logit
from sparsemod.search import gp, posterior
from sparsemod.search.costs import CostEstimate, table


def data(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.random((count, 5))
    return x, 0.7 * np.exp(-3.5 + 2 * x[:, 0] + np.sin(4 * x[:, 1]) + 0.05 * rng.normal(size=count))


def test_the_posterior_is_botorchs() -> None:
    x, errors = data(gp.SAMPLED + 1)
    [found] = gp.fit(x, errors)
    model = gp.ErrorModel(x, errors, [found])
    logs = logit(errors)
    scale = np.sqrt((101 * logs.var(ddof=1) + gp.PRIOR_POINTS * gp.PRIOR_SPREAD**2) / (101 + gp.PRIOR_POINTS))
    y = torch.from_numpy((logs - logs.mean()) / scale)[:, None]
    kernel = get_covar_module_with_dim_scaled_prior(5)
    reference = SingleTaskGP(torch.from_numpy(x), y, covar_module=kernel, outcome_transform=None)
    reference.covar_module.lengthscale = torch.from_numpy(found.lengthscales)
    reference.likelihood.noise = torch.tensor(found.noise + 1e-6)
    reference.mean_module.initialize(constant=found.mean)
    new = np.random.default_rng(1).random((50, 5))
    with torch.no_grad():
        expected = reference.posterior(torch.from_numpy(new))
    mean, deviation = model.predict(new)
    assert_allclose(mean, logs.mean() + scale * expected.mean.numpy()[:, 0], atol=1e-4)
    assert_allclose(deviation, scale * expected.variance.sqrt().numpy()[:, 0], atol=1e-3)


def test_it_learns_and_a_fantasy_lowers_the_doubt() -> None:
    x, errors = data()
    new, truth = data(100, seed=7)
    model = gp.ErrorModel(x, errors, gp.fit(x, errors))
    mean, before = model.predict(new)
    assert np.corrcoef(mean, logit(truth))[0, 1] > 0.95
    model.add(new[:1], mean[:1])
    again, after = model.predict(new)
    assert after[0] < before[0]
    # The members of the mixture disagree a little about the fantasy.
    assert_allclose(again, mean, atol=0.01)


def test_epochs_are_modelled_and_not_mixed() -> None:
    # The same networks for 2, 4 and 16 epochs: the model separates the effect of the training length.
    x, errors = data(36)
    epochs = np.resize([2.0, 4.0, 16.0], 36)
    seen = np.column_stack([x, [gp.fidelity(e) for e in epochs]])
    seen_errors = errors * (2.0 / epochs) ** 0.5
    new, truth = data(100, seed=7)
    model = gp.ErrorModel(seen, seen_errors, gp.fit(seen, seen_errors))
    after = {}
    for e in (2.0, 16.0):
        after[e], _ = model.predict(np.column_stack([new, np.full(100, gp.fidelity(e))]))
        assert np.corrcoef(after[e], logit(truth * (2.0 / e) ** 0.5))[0, 1] > 0.9
    gained = logit(truth) - logit(truth / 8.0**0.5)
    assert_allclose((after[2.0] - after[16.0]).mean(), gained.mean(), rtol=0.15)


def test_equal_data_give_equal_hyperparameters_with_and_without_the_cache() -> None:
    x, errors = data(20)
    fitter = gp.Fitter()
    first, cached, other = fitter.fit(x, errors), fitter.fit(x, errors), gp.Fitter().fit(x, errors)
    assert cached is first
    assert len(first) == len(other) == posterior.KEPT
    for one, another in zip(first, other, strict=True):
        assert_allclose(one.lengthscales, another.lengthscales, rtol=0)


def test_few_points_leave_the_doubt_that_a_single_fit_denies() -> None:
    # Ten points in twelve dimensions, of which two matter together: most networks are useless, and few of the ten show why.
    surprise = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, new = rng.random((10, 12)), rng.random((100, 12))
        errors, truth = (error_of(2.0 - 6.0 * (z[:, 0] > 0.6) * (z[:, 1] > 0.5)) for z in (x, new))
        logs = logit(errors)
        peak = gp.peak(x, (logs - logs.mean()) / max(1e-9, logs.std(ddof=1)))
        models = [gp.ErrorModel(x, errors, members) for members in (gp.fit(x, errors), (peak,))]
        squares = []
        for mean, deviation in (model.predict(new) for model in models):
            squares.append(float(np.mean(((logit(truth) - mean) / deviation) ** 2)))
        surprise.append(squares)
    sampled, single = np.array(surprise).T
    assert (sampled < single).all() and np.median(sampled) < 3.0


def test_bad_networks_alone_do_not_rule_out_a_good_one() -> None:
    x = np.random.default_rng(0).random((10, 12))
    new = np.random.default_rng(1).random((100, 12))
    _, deviation = gp.ErrorModel(x, np.full(10, 0.9), gp.fit(x, np.full(10, 0.9))).predict(new)
    assert deviation.mean() > 0.25


def test_the_cap_keeps_front_and_best_and_spreads_the_rest() -> None:
    x, errors = data(300)
    keep = np.zeros(300, dtype=bool)
    keep[[5, 77]] = True
    taken = gp.select_points(errors, x, keep, 60)
    assert len(set(taken.tolist())) == 60
    assert {5, 77, int(errors.argmin())} <= set(taken.tolist())
    assert gp.select_points(errors, x, keep, 300).tolist() == list(range(300))


def test_a_perfect_score_and_constant_errors_stay_finite() -> None:
    x, _ = data(6)
    for errors in (np.zeros(6), np.full(6, 0.5), np.ones(6)):
        mean, deviation = gp.ErrorModel(x, errors, gp.fit(x, errors)).predict(x)
        assert np.isfinite(mean).all() and np.isfinite(deviation).all()


def test_estimated_costs_rank_unknown_candidates() -> None:
    rng = np.random.default_rng(0)
    known = [SPACE.sample(rng) for _ in range(60)]
    new = [SPACE.sample(rng) for _ in range(200)]
    metrics = ["model_size", "latency"]
    model = CostEstimate(
        np.array([SPACE.encode(p) for p in known]), table([costs(p) for p in known], metrics)
    )
    guess, deviation = model.predict(np.array([SPACE.encode(p) for p in new]))
    truth = table([costs(p) for p in new], metrics)
    assert (deviation > 0).all()
    for column in range(2):
        logs = np.log(guess[:, column]), np.log(truth[:, column])
        assert np.corrcoef(*logs)[0, 1] > 0.9


def test_the_scale_of_the_model_has_an_inverse() -> None:
    errors = np.linspace(0.0, 1.0, 21)
    assert_allclose(error_of(logit(errors)), errors, atol=1e-12)
