"""A spec's `space`: every value must be valid for the pipeline or the family, checked before any draw."""

from typing import Any

import numpy as np
import pytest

from sparsemod.errors import InvalidCandidate, InvalidInput, InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.records import DataInfo
from sparsemod.space.parameters import Categorical, Condition, Constraint, Integer
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.pipeline_parameters import check_narrowed

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)


def spec_with(**changes: Any) -> ExperimentSpec:
    return ExperimentSpec.parse({"dataset": {"name": "digits"}, "network": {"family": "cnn"}, **changes})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("learning_rate", {"low": -1, "high": 1}, r"space\.learning_rate = -1: .*greater than 0"),
        ("learning_rate", "fast", r"space\.learning_rate = 'fast': .*valid number"),
        ("batch_size", [0.5, 2], r"space\.batch_size = 0\.5: .*valid integer"),
        ("batch_size", {"type": "real", "low": 8, "high": 64}, r"space\.batch_size = 8\.0: .*valid integer"),
        ("label_smoothing", 1.5, r"space\.label_smoothing = 1\.5: .*less than 1"),
        ("weight_decay", [1e-4, -1e-4], r"space\.weight_decay = -0\.0001: "),
        ("sparsity", {"low": 0.5, "high": 1.5}, r"space\.sparsity = 1\.5: as in pruning\.sparsity: "),
    ],
)
def test_pipeline_parameters_have_the_limits_of_their_constants(name: str, given: Any, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        spec_with(space={name: given}, pruning={"method": "magnitude"})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("b1_l1_filters", {"low": 0, "high": 8}, r"space\.b1_l1_filters = 0: for family cnn: .* 1 to 100"),
        ("b1_l1_filters", {"low": 1.5, "high": 8}, r"= \[1\.5, 8\.0\]: for family cnn: a whole number"),
        ("b1_l1_filters", True, r"= True: for family cnn: a whole number"),
        ("b1_l1_type", ["conv", "magic"], r"= 'magic': for family cnn: one of 'conv', 'down', 'separable'"),
        ("b1_l1_type", {"low": 1, "high": 2}, r"= \[1, 2\]: .*give a list of some of them, or one"),
        ("b1_pool", [0, 1], r"= 0: for family cnn: one of False, True"),
        ("blocks", 5, r"= 5: for family cnn: a whole number from 1 to 2"),
        ("dropout", [0.1, 0.9], r"= 0\.9: for family cnn: a number from 0 to 0\.5"),
    ],
)
def test_a_family_s_parameter_is_narrowed_and_nothing_else(name: str, given: Any, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        Problem.of(spec_with(space={name: given}), DIGITS)


def test_a_family_s_parameter_keeps_its_condition() -> None:
    when = [{"parameter": "blocks", "values": [1]}]
    with pytest.raises(InvalidSpec, match=r"space\.b2_pool\.when = .*left out: family cnn decides"):
        Problem.of(spec_with(space={"b2_pool": {"values": [True], "when": when}}), DIGITS)


def test_a_condition_awaits_a_value_that_there_is() -> None:
    def rate(value: Any) -> ExperimentSpec:
        when = [{"parameter": "blocks", "values": [value]}]
        return spec_with(space={"blocks": 1, "weight_decay": {"low": 1e-5, "high": 1e-3, "when": when}})

    assert "weight_decay" in Problem.of(rate(1), DIGITS).space
    with pytest.raises(
        InvalidSpec, match=r"space\.weight_decay\.when = \[2\]: values that blocks can have: only 1"
    ):
        Problem.of(rate(2), DIGITS)
    with pytest.raises(InvalidInput, match=r"space\.depth\.when = \['yes'\]: values that deep can have"):
        Space(
            [
                Categorical("deep", (False, True)),
                Integer("depth", 1, 3, when=(Condition(parameter="deep", values=("yes",)),)),
            ]
        ).check_reachable()


def test_invalid_parameters() -> None:
    with pytest.raises(InvalidInput, match="each value once"):
        Categorical("kernel", (1, 1.0))
    with pytest.raises(InvalidInput, match="at least 1 character"):
        Integer("", 1, 2)
    for value in (float("inf"), float("nan"), 10**400):
        with pytest.raises(InvalidCandidate, match="a whole number from 1 to 2"):
            Space([Integer("width", 1, 2)]).validate({"width": value})


def test_narrowing_keeps_to_the_family_s_steps() -> None:
    stepped = Integer("width", 4, 64, step=4)
    for low, high, step in ((8, 32, 8), (4, 64, 4), (12, 12, 5)):
        check_narrowed(stepped, Integer("width", low, high, step=step), "own")
    check_narrowed(Integer("width", 1, 64), Integer("width", 4, 64, step=4), "own")
    for low, high, step, wrong in ((4, 64, 2, 6), (8, 32, 1, 9), (6, 30, 4, 6)):
        with pytest.raises(InvalidInput, match=rf"= {wrong}: .* from 4 to 64 in steps of 4"):
            check_narrowed(stepped, Integer("width", low, high, step=step), "own")


def test_a_spec_may_give_a_step() -> None:
    spec = spec_with(
        space={
            "b1_l1_filters": {"low": 4, "high": 64, "step": 4},
            "batch_size": {"low": 32, "high": 128, "step": 32, "log": True},
        }
    )
    space = Problem.of(spec, DIGITS).space
    assert ExperimentSpec.parse(spec.to_dict()) == spec
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(60)]
    assert {int(values["b1_l1_filters"]) % 4 for values in drawn} == {0}
    assert {values["batch_size"] for values in drawn} == {32, 64, 96, 128}
    schema = ExperimentSpec.model_json_schema()["$defs"]["Integer"]["properties"]["step"]
    assert (schema["type"], schema["minimum"], schema["default"]) == ("integer", 1, 1)
    for given, message in (
        ({"low": 4, "high": 64, "step": 7}, r"space\.b1_l1_filters\.high = 64: .*60 or 67"),
        ({"low": 4, "high": 64, "step": 0.5}, r"space\.b1_l1_filters\.step = 0\.5: .*integer"),
        ({"low": 0.1, "high": 0.5, "step": 0.1}, r"space\.b1_l1_filters\.low = 0\.1: .*integer"),
    ):
        with pytest.raises(InvalidSpec, match=message):
            spec_with(space={"b1_l1_filters": given})


def test_narrowing_takes_every_form() -> None:
    space = {
        "b1_l1_filters": {"low": 4, "high": 16},
        "b1_l2_filters": [4, 8],
        "b1_l1_type": ["conv", "down"],
        "b1_pool": True,
        "blocks": 1,
        "dropout": {"low": 0, "high": 0.5},
        "d1_width": 16.0,
    }
    found = Problem.of(spec_with(space=space), DIGITS).space
    values = found.complete({})
    assert (values["blocks"], values["b1_pool"], values["dropout"]) == (1, True, 0.25)


@pytest.mark.parametrize("budgets", [["error <= 5"], {"error": "200 %"}])
def test_an_error_is_a_share(budgets: Any) -> None:
    with pytest.raises(
        InvalidSpec, match=r"budgets\.error = [52]\.0: a share of at most 1, such as 0\.05 or 5 %"
    ):
        spec_with(budgets=budgets)


def test_a_constraint_needs_something_to_constrain() -> None:
    with pytest.raises(InvalidSpec, match=r"constraints\.0\.coefficients = \{\}"):
        spec_with(constraints=[{"coefficients": {}, "bound": 3}])
    with pytest.raises(ValueError, match="coefficients"):
        Constraint(coefficients={}, bound=1.0)


@pytest.mark.parametrize("milestones", [[1.5], [-0.1, 0.5]])
def test_milestones_are_shares_of_the_training(milestones: list[float]) -> None:
    with pytest.raises(InvalidInput, match=r"training\.schedule\.milestones\.\d"):
        spec_with(training={"schedule": {"name": "step", "milestones": milestones}})


def test_a_flag_and_a_number_are_two_values() -> None:
    space = Space([Categorical("mixed", (True, 1, "auto"))])
    for value in (True, 1, "auto"):
        back = space.decode(space.unit({"mixed": value}))["mixed"]
        assert back == value and type(back) is type(value)
    assert [type(value) for value in Categorical("mixed", (True, 1, "auto")).others(1)] == [bool, str]
