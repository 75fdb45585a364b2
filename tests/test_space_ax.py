"""Ax spaces as spaces of this package: every kind of parameter, in every form, and back."""

from typing import Any

import pytest
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.core.parameter import ChoiceParameter, FixedParameter, ParameterType, RangeParameter
from ax.core.parameter_constraint import ParameterConstraint
from ax.core.search_space import SearchSpace

from sparsemod.errors import InvalidInput
from sparsemod.search.ax_space import constraints, parameters
from sparsemod.space.from_ax import from_ax
from sparsemod.space.parameters import Categorical, Condition, Constraint, Fixed, Integer, Real
from sparsemod.space.space import Space

PLAIN = [
    Integer("layers", 1, 3),
    Integer("filters", 1, 100, log=True),
    Real("rate", 1e-4, 1e-1, log=True),
    Real("dropout", 0.1, 0.9),
    Integer("stepped", 4, 16, step=4),
    Categorical("kind", ("conv", "down", "separable")),
    Categorical("kernel", (2, 3, 5), ordered=True),
    Categorical("pool", (True, False)),
]


def ax_space() -> SearchSpace:
    return SearchSpace(
        parameters=[
            RangeParameter("layers", ParameterType.INT, 1, 3),
            RangeParameter("filters", ParameterType.INT, 1, 100, log_scale=True),
            RangeParameter("rate", ParameterType.FLOAT, 1e-4, 1e-1, log_scale=True),
            ChoiceParameter(
                "kind",
                ParameterType.STRING,
                ["conv", "down", "separable"],
                is_ordered=False,
                sort_values=False,
            ),
            ChoiceParameter("kernel", ParameterType.INT, [2, 3, 5], is_ordered=True),
            FixedParameter("max_len", ParameterType.INT, 16),
        ],
        parameter_constraints=[ParameterConstraint("layers - kernel <= 1.5")],
    )


def test_a_search_space() -> None:
    space = from_ax(ax_space())
    assert space.parameters == (
        Integer("layers", 1, 3),
        Integer("filters", 1, 100, log=True),
        Real("rate", 1e-4, 1e-1, log=True),
        Categorical("kind", ("conv", "down", "separable")),
        Categorical("kernel", (2, 3, 5), ordered=True),
        Fixed("max_len", 16),
    )
    assert space.constraints == (Constraint(coefficients={"layers": 1.0, "kernel": -1.0}, bound=1.5),)


def test_lists_mappings_and_dicts_give_the_same_space() -> None:
    whole = from_ax(ax_space())
    items = list(ax_space().parameters.values())
    assert from_ax(items).parameters == whole.parameters
    assert from_ax({item.name: item for item in items}).parameters == whole.parameters
    dicts: list[dict[str, Any]] = [
        {"name": "layers", "type": "range", "bounds": [1, 3]},
        {"name": "filters", "type": "range", "bounds": [1, 100], "value_type": "int", "log_scale": True},
        {"name": "rate", "type": "range", "bounds": [1e-4, 1e-1], "log_scale": True},
        {"name": "kind", "type": "choice", "values": ["conv", "down", "separable"]},
        {"name": "kernel", "type": "choice", "values": [2, 3, 5], "is_ordered": True},
        {"name": "max_len", "type": "fixed", "value": 16},
    ]
    assert from_ax(dicts).parameters == whole.parameters
    assert from_ax({one.pop("name"): one for one in dicts}).parameters == whole.parameters


def test_a_round_trip_keeps_every_parameter_and_constraint() -> None:
    space = Space(PLAIN, [Constraint(coefficients={"layers": 1.0, "dropout": 2.0}, bound=3.0)])
    back = {p.name: p for p in from_ax(parameters(space)).parameters}
    for parameter in space.parameters:
        if parameter.name == "stepped":  # a stepped range is a list in Ax
            assert back["stepped"] == Categorical("stepped", (4, 8, 12, 16), ordered=True)
        else:
            assert back[parameter.name] == parameter
    with_constraint = SearchSpace(
        [
            RangeParameter("layers", ParameterType.INT, 1, 3),
            RangeParameter("dropout", ParameterType.FLOAT, 0.1, 0.9),
        ],
        [ParameterConstraint(text) for text in constraints(space)],
    )
    assert from_ax(with_constraint).constraints == space.constraints


def test_steps_of_configurations() -> None:
    assert from_ax([RangeParameterConfig("n", (2, 10), "int", step_size=4)]).parameters == (
        Integer("n", 2, 10, step=4),
    )
    stepped = from_ax([RangeParameterConfig("d", (0.1, 0.4), "float", step_size=0.1)]).parameters
    assert stepped == (Categorical("d", (0.1, 0.2, 0.3, 0.4), ordered=True),)


def test_dependent_parameters_become_conditions() -> None:
    wanted = (
        Categorical("kind", ("conv", "down", "none")),
        Integer("filters", 1, 8, when=(Condition(parameter="kind", values=("conv", "down")),)),
        Real("rate", 0.1, 0.5, when=(Condition(parameter="kind", values=("down",)),)),
    )
    dependents = {"conv": ["filters"], "down": ["filters", "rate"]}
    kind = ChoiceParameter(
        "kind",
        ParameterType.STRING,
        ["conv", "down", "none"],
        is_ordered=False,
        sort_values=False,
        dependents=dependents,
    )
    rest = [
        RangeParameter("filters", ParameterType.INT, 1, 8),
        RangeParameter("rate", ParameterType.FLOAT, 0.1, 0.5),
    ]
    assert from_ax([kind, *rest]).parameters == wanted
    config = ChoiceParameterConfig("kind", ["conv", "down", "none"], "str", dependent_parameters=dependents)
    assert from_ax([config, *rest]).parameters == wanted
    plain = {"name": "kind", "type": "choice", "values": ["conv", "down", "none"], "dependents": dependents}
    assert from_ax([plain, *rest]).parameters == wanted


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (RangeParameter("a", ParameterType.FLOAT, 0.1, 0.9, logit_scale=True), "space.a.logit_scale"),
        (RangeParameter("a", ParameterType.FLOAT, 0.1, 0.9, digits=2), "space.a.digits"),
        ({"name": "a", "type": "range", "bounds": [1]}, "space.a.bounds"),
        ({"name": "a", "type": "choice"}, "space.a"),
        ({"name": "a", "type": "range", "bounds": [1, 2], "logscale": True}, "space.a.logscale"),
        ({"name": "a", "type": "range", "bounds": [1.5, 2], "value_type": "int"}, "space.a"),
        (3, "space"),
    ],
)
def test_what_has_no_counterpart_is_refused(item: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_ax([item])
    assert caught.value.field == field
