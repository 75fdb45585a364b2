"""Stopping rules: the forecast of a curve, the front at the exact costs, halving by non-dominated rank."""

import math

import numpy as np
import pytest
from support_specs import small

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.objectives import Objectives
from sparsemod.quality import Quality, error_of, logit
from sparsemod.records import Candidate, CurvePoint
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import STOPPING as CONFIGS
from sparsemod.stopping import STOPPING, Judge, Training
from sparsemod.stopping.base import Peers
from sparsemod.stopping.curves import predicted
from sparsemod.stopping.forecast import forecast
from sparsemod.stopping.halving import nondominated_ranks

EPOCHS = 10
OBJECTIVES = Objectives(("error", "model_size"), {"error": 1.0, "model_size": 10_000.0}, {})


def curves(count: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Logits of power laws of random depth and speed, shape (count, EPOCHS), and their final values with a shift of 0.2."""
    rng = np.random.default_rng(seed)
    times = np.arange(1, EPOCHS + 1)
    floor, gain, speed = rng.uniform(-4, 0, count), rng.uniform(1, 3, count), rng.uniform(0.2, 1.0, count)
    clean = floor[:, None] + gain[:, None] * times ** -speed[:, None]
    noisy = clean + noise * rng.normal(size=clean.shape)
    return noisy, clean[:, -1] + 0.2 + noise * rng.normal(size=count)


def training(
    index: int, errors: list[float], size: float, final: float | None = None, **changes: object
) -> Training:
    fields: dict[str, object] = {
        "epochs": EPOCHS,
        "inherits": False,
        "costs": {"model_size": size},
        **changes,
    }
    values = {} if final is None else {"error": final, "model_size": size}
    return Training(index=index, errors=tuple(errors), values=values, **fields)  # type: ignore[arg-type]


def ended(count: int = 8) -> list[Training]:
    """Completed trainings that fall from 50 % to an error between 10 and 24 %; larger networks are better."""
    found = []
    for i in range(count):
        final = 0.1 + 0.02 * i
        falling = [final + 0.4 * 0.6**e for e in range(EPOCHS)]
        found.append(training(i, falling, 8000.0 - 500.0 * i, final))
    return found


def judge(rule: str = "curves", **keys: object) -> Judge:
    spec = small("stopping", (4, 4, 2), (2, 3, 1), objectives=["error", "model_size"])
    return Judge(ExperimentSpec.parse({**spec, "stopping": {"name": rule, **keys}}))


def test_a_forecast_is_honest_and_sharper_than_the_last_value() -> None:
    known, finals = curves(60, seed=1)
    fresh, truth = curves(200, seed=2)
    for finished, most in ((2, 0.3), (5, 0.17)):
        found = [forecast(curve[:finished], known[:, :finished], finals, EPOCHS) for curve in fresh]
        means, deviations = np.array([one.moments() for one in found]).T
        z = (truth - means) / deviations
        assert 0.7 < z.std() < 1.25, "the spread is that of the errors"
        assert np.sqrt(np.mean((truth - means) ** 2)) < most
        held = fresh[:, :finished].min(axis=1)
        corrected = held + np.mean(finals - known[:, :finished].min(axis=1))
        assert np.mean((truth - means) ** 2) < np.mean((truth - corrected) ** 2)
        places = np.array([one.below(value) for one, value in zip(found, truth, strict=True)])
        assert 0.4 < places.mean() < 0.6 and (places < 0.05).mean() < 0.1


def test_few_trainings_give_a_wide_forecast() -> None:
    known, finals = curves(60, seed=1)
    wide = forecast(known[0, :3], known[1:3, :3], finals[1:3], EPOCHS).moments()[1]
    narrow = forecast(known[0, :3], known[1:, :3], finals[1:], EPOCHS).moments()[1]
    assert wide > 1.3 * narrow


def test_the_front_at_the_exact_costs_decides() -> None:
    rule, others = judge(), ended()
    bad = [0.6, 0.5, 0.45, 0.42]
    decision = rule.decide(training(20, bad, 8000.0), others)
    assert decision is not None and decision.epoch == 4 and decision.epochs == EPOCHS
    assert decision.probability is not None and decision.probability < 0.05
    assert decision.expected is not None and 0.2 < decision.expected < 0.42
    assert decision.text.startswith("stopped by the rule curves: after epoch 4 of 10, a probability of")
    assert rule.decide(training(20, bad, 300.0), others) is None, "nothing on the front is as small"
    good = [0.55, 0.3, 0.2, 0.12]
    assert rule.decide(training(20, good, 8000.0), others) is None, "it may become the best one"


def test_the_rule_waits_for_epochs_trials_and_a_front() -> None:
    others, bad = ended(), [0.9, 0.9, 0.9, 0.9]
    assert judge().decide(training(20, bad, 9000.0), others) is not None
    assert judge(after=5).decide(training(20, bad, 9000.0), others) is None
    assert judge(trials=9).decide(training(20, bad, 9000.0), others) is None
    assert judge().decide(training(20, [], 9000.0), others) is None
    assert judge().decide(training(20, [0.9] * EPOCHS, 9000.0), others) is None, "it is at its end"
    assert judge().decide(training(20, bad, 9000.0, epochs=20), others) is None, "no training was as long"
    assert judge().decide(training(20, bad, 9000.0, inherits=True), others) is None, "none inherited"
    unmeasured = [training(t.index, list(t.errors), 1.0) for t in others]
    assert judge().decide(training(20, bad, 9000.0), unmeasured) is None, "there is no front"


@pytest.mark.parametrize("rule", ["curves", "halving"])
def test_an_objective_without_exact_costs_rules_nothing_out(rule: str) -> None:
    assert judge(rule).decide(training(20, [0.9] * 4, 9000.0, costs={}), ended()) is None


def test_the_ceiling_is_the_best_error_of_networks_that_cost_no_more() -> None:
    others = ended()
    peers = Peers(others, OBJECTIVES, Quality.of("error", OBJECTIVES))
    assert peers.ceiling({"model_size": 7000.0}) == pytest.approx(0.14)
    assert peers.ceiling({"model_size": 100.0}) == math.inf
    limited = Objectives(("model_size",), {"model_size": 1e4}, {"error": 0.2})
    peers = Peers(others, limited, Quality.of("error", limited))
    assert peers.ceiling({"model_size": 4000.0}) == pytest.approx(0.2), "the budget"
    assert peers.ceiling({"model_size": 6000.0}) == -math.inf, "a smaller one keeps the budget already"


def test_trainings_that_the_rule_leaves_alone() -> None:
    rule = judge()

    def candidate(part: str) -> Candidate:
        return Candidate(parameters={}, origin="sobol", round=part)

    assert [rule.judges(candidate(part)) for part in ("r1", "r2", "r3")] == [True] * 3
    assert not rule.judges(candidate("manual")) and not rule.judges(candidate("repeats"))
    plain = ExperimentSpec.parse(small("none", (4, 4, 2), (2, 3, 1)))
    assert not Judge(plain).judges(candidate("r1"))


def test_halving_compares_ranks_at_its_rungs() -> None:
    others = [training(i, [0.5 - 0.05 * i] * 9, 1000.0) for i in range(6)]
    rule = judge("halving")
    decision = rule.decide(training(20, [0.6], 1000.0), others)
    assert decision is not None and decision.probability is None
    assert decision.reason == "6 of 6 trainings have a better rank after epoch 1"
    assert rule.decide(training(20, [0.2], 1000.0), others) is None, "the best"
    assert rule.decide(training(20, [0.6], 500.0), others) is None, "the smallest is on the front"
    assert rule.decide(training(20, [0.6], 1000.0), []) is None, "nobody waits for others"
    assert judge("halving", first=2).decide(training(20, [0.6], 1000.0), others) is None
    late = rule.decide(training(20, [0.1, 0.1, 0.1, 0.6], 1000.0), others)
    assert late is None, "rung 3 counts, with the best epoch until then"


def test_ranks_are_those_of_removing_fronts() -> None:
    points = np.random.default_rng(0).integers(0, 6, size=(40, 3)).astype(float)
    ranks = nondominated_ranks(points)
    for row, rank in zip(points, ranks, strict=True):
        dominating = np.all(points <= row, axis=1) & np.any(points < row, axis=1)
        assert rank == (ranks[dominating].max() + 1 if dominating.any() else 0)


def test_a_curve_ends_at_a_gap_and_at_the_planned_epochs() -> None:
    def points(*epochs: int) -> list[CurvePoint]:
        keys = {"train_loss": 1.0, "validation_loss": 1.0, "learning_rate": 0.1}
        return [CurvePoint(epoch=e, validation_error=e / 100, **keys) for e in epochs]

    assert Training.of(0, 9, None, {}, points(1, 2, 4), {}).errors == (0.01, 0.02)
    assert Training.of(0, 2, 3, {}, points(3, 2, 1), {}) == Training(0, 2, True, {}, (0.01, 0.02))


def test_the_forecast_of_any_rule_needs_two_trainings() -> None:
    quality = Quality.of("error", OBJECTIVES)
    assert predicted(training(9, [0.5], 1.0), Peers(ended(1), OBJECTIVES, quality)) is None
    found = predicted(training(9, [0.5], 1.0), Peers(ended(2), OBJECTIVES, quality))
    assert found is not None and 0.0 < float(error_of(np.array(found.moments()[0]))) < 0.5
    assert float(error_of(logit(np.array(0.25)))) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stopping": "median"}, "stopping.name = 'median': known: curves, halving"),
        ({"stopping": {"name": "curves", "probability": 0}}, "stopping.probability = 0: should be greater than 0"),
        ({"stopping": {"name": "halving", "factor": 1}}, "stopping.factor = 1: should be greater than 1"),
        ({"stopping": {"name": "halving", "after": 1}}, "stopping.after = 1: unknown key; known here: factor, first, name"),
        ({"stopping": "curves", "objectives": ["model_size"]}, "nothing depends on a training"),
        ({"stopping": "curves", "source": {"name": "study"}}, "source study, which needs every training to its end"),
    ],
)  # fmt: skip
def test_bad_specs_name_the_field(keys: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        ExperimentSpec.parse({"dataset": {"name": "digits"}, "network": {"family": "mlp"}, **keys})
    assert message in str(caught.value)


def test_a_rule_by_its_name_has_its_defaults() -> None:
    assert CONFIGS.config("curves").model_dump()["probability"] == 0.05
    assert STOPPING.names() == ("curves", "halving")
    with pytest.raises(InvalidInput):
        CONFIGS.config("curves", after=0)
