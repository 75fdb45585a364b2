"""A search space: parameters with conditions and constraints.

Only this module decides whether a candidate is valid.

A candidate holds exactly its *active* parameters: those whose conditions hold. There are two encodings:
`decode` maps the unit cube (one coordinate per parameter) to candidates, for Sobol points; `encode` maps
candidates to features in [0, 1], for models.
"""

import heapq
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsemod.errors import InvalidCandidate, InvalidInput, shorten
from sparsemod.records import Value
from sparsemod.space.parameters import (
    Categorical,
    Condition,
    Constraint,
    Fixed,
    Integer,
    Parameter,
    Real,
    is_numeric,
)

__all__ = ["Categorical", "Condition", "Constraint", "Fixed", "Integer", "Parameter", "Real", "Space"]

Floats = npt.NDArray[np.float64]
Values = dict[str, Value]


class Space:
    """An ordered set of parameters.

    It keeps the given order, but moves a parameter behind those that its conditions name.

    Raises InvalidInput for a duplicate name, a condition on an unknown parameter, circular conditions, or a
    constraint on an unknown or non-numeric parameter.
    """

    def __init__(self, parameters: Iterable[Parameter], constraints: Iterable[Constraint] = ()) -> None:
        self.parameters = _ordered(tuple(parameters))
        self.constraints = tuple(constraints)
        self._by_name: dict[str, Parameter] = {parameter.name: parameter for parameter in self.parameters}
        for place, constraint in enumerate(self.constraints):
            for name in constraint.coefficients:
                if name not in self._by_name or not is_numeric(self._by_name[name]):
                    numeric = [p.name for p in self.parameters if is_numeric(p)]
                    raise InvalidInput(
                        f"constraints.{place}",
                        name,
                        "a parameter of the space that is a number, or a list of numbers with `ordered: true`: "
                        f"{', '.join(numeric) or 'it has none'}",
                    )

    def __repr__(self) -> str:
        return f"Space({', '.join(self.names)})"

    def check_reachable(self, names: Iterable[str] | None = None) -> "Space":
        """Check that the parameters `names` (default: all) can become active; return the space itself.

        Raises InvalidInput when a condition lists only values that the parameter it names cannot have. (A
        spec that narrows a space may make parameters unreachable on purpose.)
        """
        for parameter in self.parameters if names is None else map(self.parameter, names):
            for condition in parameter.when:
                required = self._by_name[condition.parameter]
                if not any(required.holds(value) for value in condition.values):
                    raise InvalidInput(
                        f"space.{parameter.name}.when",
                        list(condition.values),
                        f"values that {condition.parameter} can have: {required.allowed()}",
                    )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in order."""
        return tuple(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def parameter(self, name: str) -> Parameter:
        """Return the parameter called `name`. Raises InvalidInput."""
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidInput("space", name, f"a parameter of the space: {', '.join(self.names)}") from None

    def active(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Return the names of the parameters that are active for these values."""
        active: dict[str, None] = {}
        for parameter in self.parameters:
            if all(c.parameter in active and values.get(c.parameter) in c.values for c in parameter.when):
                active[parameter.name] = None
        return tuple(active)

    def validate(self, values: Mapping[str, Any], field: str = "parameters") -> Values:
        """Return the candidate in canonical order and types.

        It must hold exactly the active parameters, each within its bounds, and meet all constraints. Raises
        InvalidCandidate, which names the parameter, shows the value and says what is allowed.
        """
        result: Values = {}
        for name in values:
            if name not in self._by_name:
                raise InvalidCandidate(
                    f"{field}.{name}", values[name], f"a parameter of the space: {', '.join(self.names)}"
                )
        for parameter in self.parameters:
            name = parameter.name
            if all(c.parameter in result and result[c.parameter] in c.values for c in parameter.when):
                if name not in values:
                    raise InvalidCandidate(f"{field}.{name}", None, f"is missing; {parameter.allowed()}")
                try:
                    result[name] = parameter.check(values[name])
                except InvalidCandidate as error:
                    raise InvalidCandidate(f"{field}.{name}", values[name], error.allowed) from None
            elif name in values:
                why = " and ".join(f"{c.parameter} in {list(c.values)}" for c in parameter.when)
                raise InvalidCandidate(f"{field}.{name}", values[name], f"allowed only when {why}")
        for constraint in self.constraints:
            if not constraint.holds(result):
                raise InvalidCandidate(
                    field, {n: result.get(n) for n in constraint.coefficients}, f"must meet {constraint}"
                )
        return result

    def fill(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `values` plus every missing active parameter that has only one possible value."""
        result = dict(values)
        for parameter in self.parameters:
            active = all(c.parameter in result and result[c.parameter] in c.values for c in parameter.when)
            if active and parameter.cardinality == 1:
                result.setdefault(parameter.name, parameter.default)
        return result

    def is_valid(self, values: Mapping[str, Any]) -> bool:
        """Whether `validate` accepts the values."""
        try:
            self.validate(values)
        except InvalidCandidate:
            return False
        return True

    def complete(self, values: Mapping[str, Value]) -> Values:
        """Turn `values` into a candidate: drop inactive parameters, add missing ones at their default, clip to bounds.

        Does not repair constraints.
        """
        result: Values = {}
        for parameter in self.parameters:
            if all(c.parameter in result and result[c.parameter] in c.values for c in parameter.when):
                value = values.get(parameter.name)
                result[parameter.name] = parameter.default if value is None else parameter.clip(value)
        return result

    def meets_constraints(self, values: Values) -> bool:
        """Whether `values` meet all constraints."""
        return all(constraint.holds(values) for constraint in self.constraints)

    # -- sampling and variation ----------------------------------------------------------------------------

    @cached_property
    def free(self) -> tuple[Parameter, ...]:
        """The parameters with more than one possible value: the coordinates of the unit cube."""
        return tuple(p for p in self.parameters if p.cardinality > 1)

    def decode(self, unit: Floats) -> Values:
        """Return the candidate at a point of the unit cube [0, 1)^len(free).

        It may break a constraint (see `meets_constraints`).
        """
        at = dict(zip((p.name for p in self.free), unit.tolist(), strict=True))
        result: Values = {}
        for parameter in self.parameters:
            if all(c.parameter in result and result[c.parameter] in c.values for c in parameter.when):
                result[parameter.name] = (
                    parameter.from_unit(at[parameter.name]) if parameter.name in at else parameter.default
                )
        return result

    def unit(self, values: Mapping[str, Value]) -> Floats:
        """Return a point of the unit cube that decodes to `values`; inactive coordinates are 0.5."""
        return np.array([p.unit(values[p.name]) if p.name in values else 0.5 for p in self.free])

    def sample(self, rng: np.random.Generator, tries: int = 10_000) -> Values:
        """Draw a uniform random candidate that meets the constraints.

        Raises InvalidInput when `tries` draws find none.
        """
        for _ in range(tries):
            values = self.decode(rng.random(len(self.free)))
            if self.meets_constraints(values):
                return values
        raise self.unmet(tries)

    def unmet(self, tries: int) -> InvalidInput:
        """Return the error for constraints that none of `tries` candidates meets."""
        return InvalidInput(
            "constraints", [str(c) for c in self.constraints], f"met by none of {tries} random candidates"
        )

    def mutate(
        self, values: Mapping[str, Value], rng: np.random.Generator, strength: float = 0.15, tries: int = 100
    ) -> Values:
        """Return a neighbour: change active free parameters, numeric ones by about `strength` of their range.

        Returns a copy of `values` when every try breaks a constraint or no parameter is free.
        """
        names = [p for p in self.free if p.name in values]
        for _ in range(tries if names else 0):
            changed: Values = dict(values)
            count = 1 + rng.binomial(len(names) - 1, min(1.0, 1.0 / len(names)))
            for position in rng.choice(len(names), count, replace=False):
                changed[names[position].name] = self._step(
                    names[position], values[names[position].name], rng, strength
                )
            changed = self._activate(changed, rng)
            if changed != dict(values) and self.meets_constraints(changed):
                return changed
        return dict(values)

    def crossover(self, a: Mapping[str, Value], b: Mapping[str, Value], rng: np.random.Generator) -> Values:
        """Combine two candidates: each parameter comes from `a` or `b`, or is drawn if both lack it.

        May break a constraint.
        """
        mixed = {
            name: (a if name in a and (name not in b or rng.random() < 0.5) else b)[name]
            for name in {**a, **b}
        }
        return self._activate(mixed, rng)

    def _step(self, parameter: Parameter, value: Value, rng: np.random.Generator, strength: float) -> Value:
        if isinstance(parameter, Categorical) and not parameter.ordered:
            others = parameter.others(value)
            return others[rng.integers(len(others))]
        moved = float(np.clip(parameter.unit(value) + rng.normal() * strength, 0.0, np.nextafter(1.0, 0.0)))
        result = parameter.from_unit(moved)
        if result != value:
            return result
        direction = 1 if rng.random() < 0.5 else -1
        if isinstance(parameter, Integer):
            step = parameter.clip(int(value) + direction * parameter.step)
            return step if step != value else parameter.clip(int(value) - direction * parameter.step)
        if isinstance(parameter, Categorical):
            place = parameter.place(value)
            near = place + direction if 0 <= place + direction < len(parameter.values) else place - direction
            return parameter.values[near]
        return result

    def _activate(self, values: Values, rng: np.random.Generator) -> Values:
        """Return `values` without inactive parameters, and with newly active ones drawn at random."""
        result: Values = {}
        for parameter in self.parameters:
            if all(c.parameter in result and result[c.parameter] in c.values for c in parameter.when):
                value = values.get(parameter.name)
                result[parameter.name] = parameter.from_unit(float(rng.random())) if value is None else value
        return result

    # -- for models ----------------------------------------------------------------------------------------

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of `encode`: "filters", "type=conv"."""
        names: list[str] = []
        for p in self.free:
            one_hot = isinstance(p, Categorical) and not p.ordered and len(p.values) > 2
            names += (
                [f"{p.name}={v}" for v in p.values] if one_hot and isinstance(p, Categorical) else [p.name]
            )
        return tuple(names)

    def encode(self, values: Mapping[str, Value]) -> Floats:
        """Return features in [0, 1]: numeric and ordered parameters by their place in the range, others one-hot.

        Two unordered values become 0.25 or 0.75. An inactive parameter gets the middle of its range, or no
        bit of its one-hot code; the parameters that it depends on, also features, show that it is inactive.
        """
        row: list[float] = []
        for p in self.free:
            value = values.get(p.name)
            if isinstance(p, Categorical) and not p.ordered and len(p.values) > 2:
                row += [
                    float(v == value and isinstance(v, bool) == isinstance(value, bool)) for v in p.values
                ]
            else:
                row.append(0.5 if value is None else p.unit(value))
        return np.array(row)

    # -- identity ------------------------------------------------------------------------------------------

    def key(self, values: Mapping[str, Value]) -> str:
        """Return a key that is equal for equal candidates, regardless of order and number types.

        Ignores parameters with only one possible value.
        """
        ordered = {p.name: values[p.name] for p in self.free if p.name in values}
        return json.dumps(
            {n: round(v, 12) if isinstance(v, float) else v for n, v in ordered.items()},
            separators=(",", ":"),
        )

    @cached_property
    def cardinality(self) -> float:
        """Upper bound on the number of candidates, ignoring conditions; infinite with a real parameter."""
        # Multiply floats: an integer product could overflow to a negative number, which looks like a small
        # space.
        return math.prod(float(p.cardinality) for p in self.parameters)

    def override(self, changes: Mapping[str, Parameter]) -> "Space":
        """Return the space with the parameters in `changes` replaced (conditions kept) or added at the end.

        A parameter never becomes active if a replacement removes the value that its condition requires.
        """
        replaced = [
            changes[p.name].model_copy(update={"when": changes[p.name].when or p.when})
            if p.name in changes
            else p
            for p in self.parameters
        ]
        added = [parameter for name, parameter in changes.items() if name not in self._by_name]
        return Space([*replaced, *added], self.constraints)

    def describe(self) -> str:
        """Describe the space for people, one line per parameter."""
        lines = []
        for p in self.parameters:
            when = " and ".join(f"{c.parameter} in {shorten(list(c.values))}" for c in p.when)
            scale = ", log" if getattr(p, "log", False) else ""
            lines.append(f"{p.name}: {p.allowed()}{scale}{f' when {when}' if when else ''}")
        return "\n".join(lines)


def _ordered(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Move each parameter behind those that its conditions name; else keep the given order.

    Raises InvalidInput.
    """
    places: dict[str, int] = {}
    for place, parameter in enumerate(parameters):
        if parameter.name in places:
            raise InvalidInput("space", parameter.name, "each parameter once")
        places[parameter.name] = place
    waiting: list[set[int]] = []
    followers: dict[int, list[int]] = {}
    for place, parameter in enumerate(parameters):
        for condition in parameter.when:
            if condition.parameter not in places:
                other_names = ", ".join(name for name in places if name != parameter.name) or "it has none"
                raise InvalidInput(
                    f"space.{parameter.name}.when",
                    condition.parameter,
                    f"another parameter of the space: {other_names}",
                )
        waiting.append({places[condition.parameter] for condition in parameter.when})
        for other in waiting[place]:
            followers.setdefault(other, []).append(place)
    ready = [place for place, required in enumerate(waiting) if not required]
    ordered: list[Parameter] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(parameters[place])
        for follower in followers.get(place, ()):
            waiting[follower].discard(place)
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    if len(ordered) < len(parameters):
        place = next(place for place, required in enumerate(waiting) if required)
        chain: list[int] = []
        while place not in chain:
            chain.append(place)
            place = min(waiting[place])
        names = [parameters[at].name for at in [*chain[chain.index(place) :], place]]
        raise InvalidInput(f"space.{names[0]}.when", names[1], f"no cycle: {' -> '.join(names)}")
    return tuple(ordered)
