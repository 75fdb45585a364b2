"""Conversion of a user's Ax space: parameters, client configurations, or parameter dicts, to parameters of this package.

Ax itself is not imported: its objects are recognized by their attributes, so that the module belongs to the cold core.
A choice's dependent parameters become conditions. Ax allows a tree of them, as this package does.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sparsemod.errors import InvalidInput
from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Condition, Constraint, Fixed, Integer, Parameter, Real
from sparsemod.space.space import Space

MOST_STEPS = 10_000
"""Largest number of values of a stepped real range, which becomes a list."""

_FORMS = (
    "an Ax SearchSpace, or a list or mapping of Ax parameters, of Ax's RangeParameterConfig and "
    "ChoiceParameterConfig, or of dicts with `name` and `type`: range, choice or fixed"
)


def is_ax(item: Any) -> bool:
    """Return whether an object is an Ax search space, an Ax parameter, or a parameter dict of Ax's client."""
    if isinstance(item, Mapping):
        return item.get("type") in ("range", "choice", "fixed")
    return type(item).__module__.partition(".")[0] == "ax"


def from_ax(space: Any) -> Space:
    """Return the space of an Ax `SearchSpace`, or of a list or mapping of Ax parameters.

    Mappings give each parameter its name. Supported are ranges (integer and real, linear and logarithmic, with a
    step), choices (ordered and not, with dependent parameters), fixed values and linear constraints. Raises
    InvalidInput that names the parameter, for example for a logit scale, digits or a derived parameter, which have
    no counterpart.
    """
    constraints: Iterable[Any] = ()
    items: Iterable[Any]
    if hasattr(space, "parameters") and hasattr(space, "parameter_constraints"):
        items, constraints = space.parameters.values(), space.parameter_constraints
    elif isinstance(space, Mapping) and not is_ax(space):
        items = [_named(name, item) for name, item in space.items()]
    elif isinstance(space, Iterable) and not isinstance(space, Mapping | str):
        items = space
    else:
        raise InvalidInput("space", space, _FORMS)
    plain = [_Plain.of(item) for item in items]
    when: dict[str, dict[str, list[Value]]] = {}
    for one in plain:
        for value, children in one.dependents.items():
            for child in children:
                when.setdefault(child, {}).setdefault(one.name, []).append(value)
    parameters = [
        one.parameter(
            tuple(Condition(parameter=p, values=tuple(v)) for p, v in when.get(one.name, {}).items())
        )
        for one in plain
    ]
    return Space(parameters, [_constraint(one) for one in constraints])


def _named(name: Any, item: Any) -> Any:
    """Return the item of a mapping with its key as its name. Raises InvalidInput when the item has another name."""
    if isinstance(item, Mapping):
        return {"name": name, **item}
    if getattr(item, "name", name) != name:
        raise InvalidInput(f"space.{name}", item.name, f"the name of its key, {name}")
    return item


class _Plain:
    """A parameter's facts, whatever its form in Ax."""

    def __init__(self, name: str, facts: Mapping[str, Any]) -> None:
        self.name, self.facts = name, facts
        self.dependents: Mapping[Value, Iterable[str]] = facts.get("dependents") or {}

    @classmethod
    def of(cls, item: Any) -> "_Plain":
        """Return the facts of a parameter, a configuration or a dict. Raises InvalidInput for anything else."""
        if isinstance(item, Mapping):
            return cls._of_dict(item)
        name = getattr(item, "name", None)
        if not isinstance(name, str) or not is_ax(item):
            raise InvalidInput("space", item, _FORMS)
        for unsupported in ("logit_scale", "digits"):
            if getattr(item, unsupported, None):
                raise InvalidInput(
                    f"space.{name}.{unsupported}",
                    getattr(item, unsupported),
                    "left out: it has no counterpart here",
                )
        kind = getattr(item, "parameter_type", None)
        kind = str(getattr(kind, "name", kind)).lower()
        facts: dict[str, Any] = {
            "kind": kind,
            "dependents": getattr(item, "dependents", None)
            if getattr(item, "is_hierarchical", False)
            else None,
        }
        if hasattr(item, "expression_str"):
            raise InvalidInput(
                f"space.{name}", item, "a range, a choice or a fixed value; a derived parameter is none"
            )
        if hasattr(item, "lower"):
            facts |= {"low": item.lower, "high": item.upper, "log": bool(item.log_scale)}
        elif hasattr(item, "bounds"):
            low, high = item.bounds
            facts |= {"low": low, "high": high, "log": item.scaling == "log", "step": item.step_size}
        elif hasattr(item, "values"):
            facts |= {"values": list(item.values), "ordered": bool(item.is_ordered)}
            facts["dependents"] = facts["dependents"] or getattr(item, "dependent_parameters", None)
        elif hasattr(item, "value"):
            facts |= {"value": item.value}
        else:
            raise InvalidInput(f"space.{name}", item, _FORMS)
        return cls(name, facts)

    @classmethod
    def _of_dict(cls, item: Mapping[str, Any]) -> "_Plain":
        name = item.get("name")
        if not isinstance(name, str):
            raise InvalidInput("space", dict(item), "a parameter dict with a `name`")
        field, kind = f"space.{name}", item.get("type")
        needed = {"range": "bounds", "choice": "values", "fixed": "value"}.get(str(kind))
        if needed is None or needed not in item:
            raise InvalidInput(
                field, dict(item), "`type`: range with `bounds`, choice with `values`, or fixed with `value`"
            )
        known = {"name", "type", "value_type", "dependents", needed} | {
            "range": {"log_scale"},
            "choice": {"is_ordered"},
        }.get(str(kind), set())
        for key in item.keys() - known:
            raise InvalidInput(
                f"{field}.{key}", item[key], f"unknown key; known here: {', '.join(sorted(known))}"
            )
        facts: dict[str, Any] = {"kind": item.get("value_type"), "dependents": item.get("dependents")}
        if kind == "range":
            bounds = item["bounds"]
            if not isinstance(bounds, list | tuple) or len(bounds) != 2:
                raise InvalidInput(f"{field}.bounds", bounds, "two numbers: low, high")
            facts |= {"low": bounds[0], "high": bounds[1], "log": bool(item.get("log_scale"))}
            facts["kind"] = facts["kind"] or ("float" if any(isinstance(b, float) for b in bounds) else "int")
        else:
            facts |= {"values": list(item["values"])} if kind == "choice" else {"value": item["value"]}
            facts["ordered"] = bool(item.get("is_ordered"))
        return cls(name, facts)

    def parameter(self, when: tuple[Condition, ...]) -> Parameter:
        """Return the parameter of this package. Raises InvalidInput."""
        facts, name = self.facts, self.name
        if "value" in facts:
            return Fixed(name=name, value=_typed(name, facts["value"], facts["kind"]), when=when)
        if "values" in facts:
            values = tuple(_typed(name, value, facts["kind"]) for value in facts["values"])
            return Categorical(name=name, values=values, ordered=facts["ordered"], when=when)
        low, high, step = facts["low"], facts["high"], facts.get("step")
        if facts["kind"] == "int":
            for bound in (low, high, step or 1):
                if bound != int(bound):
                    raise InvalidInput(f"space.{name}", bound, "whole numbers for an integer range")
            return Integer(
                name=name, low=int(low), high=int(high), log=facts["log"], step=int(step or 1), when=when
            )
        if step:
            count = round((high - low) / step) + 1
            if count > MOST_STEPS:
                raise InvalidInput(
                    f"space.{name}.step_size", step, f"at most {MOST_STEPS} values; it has {count}"
                )
            return Categorical(
                name=name,
                values=tuple(round(low + step * i, 12) for i in range(count)),
                ordered=True,
                when=when,
            )
        return Real(name=name, low=float(low), high=float(high), log=facts["log"], when=when)


def _typed(name: str, value: Any, kind: str | None) -> Value:
    """Return a listed value in the type that Ax states. Raises InvalidInput for None and other objects."""
    if not isinstance(value, bool | int | float | str):
        raise InvalidInput(f"space.{name}", value, "numbers, texts, true or false")
    if kind == "float" and not isinstance(value, bool | str):
        return float(value)
    return value


def _constraint(constraint: Any) -> Constraint:
    if getattr(constraint, "is_equality", False):
        raise InvalidInput(
            "constraints", str(constraint), "inequalities; an equality leaves a parameter nothing to choose"
        )
    return Constraint(coefficients=dict(constraint.constraint_dict), bound=float(constraint.bound))
