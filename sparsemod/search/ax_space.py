"""Conversion of our search space and candidates to Ax's and back.

Ax's hierarchical spaces allow one root and conditions on choices only, and its model flattens them. So this
module flattens the space by a fixed rule: in Ax, an inactive parameter has its default, and Ax's suggestion
for an inactive parameter is dropped. Fixed parameters are left out. Values of mixed types are passed as
JSON text. Whole numbers with a step become ordered choices; with very many values, a range whose values are
rounded to their steps.
"""

import json
from collections.abc import Mapping
from typing import Any

from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Constraint, Fixed, Integer, Parameter, Real
from sparsemod.space.space import Space

MOST_CHOICES = 1000
"""Largest number of values of a stepped whole number that Ax gets as a list."""


def parameters(space: Space) -> list[RangeParameterConfig | ChoiceParameterConfig]:
    """Return Ax's description of the free parameters."""
    configs: list[RangeParameterConfig | ChoiceParameterConfig] = []
    for p in space.free:
        if isinstance(p, Integer) and p.step > 1 and p.cardinality <= MOST_CHOICES:
            values: Any = [p.at(place) for place in range(int(p.cardinality))]
            configs.append(
                ChoiceParameterConfig(name=p.name, values=values, parameter_type="int", is_ordered=True)
            )
        elif isinstance(p, Integer | Real):
            configs.append(
                RangeParameterConfig(
                    name=p.name,
                    bounds=(p.low, p.high),
                    parameter_type="int" if isinstance(p, Integer) else "float",
                    scaling="log" if p.log else "linear",
                )
            )
        elif isinstance(p, Categorical):
            values = [_ax_value(p, v) for v in p.values]
            kind: Any = {bool: "bool", int: "int", float: "float", str: "str"}[type(values[0])]
            # Ax requires two-valued and text choices to be unordered, and numbers to be sorted.
            ordered = p.ordered and kind in ("int", "float") and values == sorted(values)
            configs.append(
                ChoiceParameterConfig(name=p.name, values=values, parameter_type=kind, is_ordered=ordered)
            )
    return configs


def constraints(space: Space) -> list[str]:
    """Return the constraints that Ax supports: between unconditional parameters on a linear scale.

    The other constraints are checked on Ax's suggestions.
    """
    return [
        _constraint(c) for c in space.constraints if all(_plain(space.parameter(n)) for n in c.coefficients)
    ]


def to_ax(space: Space, values: Mapping[str, Value]) -> dict[str, Any]:
    """Return a candidate in Ax's form: every free parameter, inactive ones at their default."""
    return {p.name: _ax_value(p, values.get(p.name, p.default)) for p in space.free}


def from_ax(space: Space, values: Mapping[str, Any]) -> dict[str, Value]:
    """Return Ax's candidate in our form: fixed parameters added, inactive ones dropped.

    It may break a constraint that Ax does not support.
    """
    back: dict[str, Value] = {}
    for p in space.free:
        value = values[p.name]
        if isinstance(p, Categorical) and _mixed(p):
            value = json.loads(value)
        back[p.name] = p.clip(value)
    return space.complete(back)


def _ax_value(parameter: Parameter, value: Value) -> Value:
    return json.dumps(value) if isinstance(parameter, Categorical) and _mixed(parameter) else value


def _mixed(parameter: Categorical) -> bool:
    return len({type(v) for v in parameter.values}) > 1


def _plain(parameter: Parameter) -> bool:
    return (
        isinstance(parameter, Integer | Real)
        and getattr(parameter, "step", 1) == 1
        and not parameter.log
        and not parameter.when
        and parameter.cardinality > 1
    ) and not isinstance(parameter, Fixed)


def _constraint(constraint: Constraint) -> str:
    terms = " + ".join(f"{factor!r} * {name}" for name, factor in constraint.coefficients.items())
    return f"{terms} <= {constraint.bound!r}"
