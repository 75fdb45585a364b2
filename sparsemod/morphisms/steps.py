"""Helpers for operators: step along one parameter."""

from typing import TypeVar

import numpy as np

from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Fixed, Integer, Real, is_number
from sparsemod.space.space import Space

T = TypeVar("T")


def shuffled(items: list[T], rng: np.random.Generator) -> list[T]:
    """Return a shuffled copy."""
    return [items[i] for i in rng.permutation(len(items))]


def nearest(space: Space, name: str, target: Value) -> Value:
    """Return the allowed value of `name` nearest to `target`.

    Returns `target` if the space lacks the parameter; the space's validation then reports it.
    """
    if name not in space:
        return target
    parameter = space.parameter(name)
    if isinstance(parameter, Categorical) and target not in parameter.values and is_number(target):
        numbers = [v for v in parameter.values if is_number(v)]
        if numbers:
            return min(numbers, key=lambda v: abs(float(v) - float(target)))
    return parameter.clip(target)


def higher(space: Space, name: str, value: Value, rng: np.random.Generator) -> Value | None:
    """Return a larger allowed value, at most about twice `value` where possible; None at the upper end."""
    return _beyond(space, name, value, rng, up=True)


def lower(space: Space, name: str, value: Value, rng: np.random.Generator) -> Value | None:
    """Return a smaller allowed value, at least about half `value` where possible; None at the lower end."""
    return _beyond(space, name, value, rng, up=False)


def _beyond(space: Space, name: str, value: Value, rng: np.random.Generator, up: bool) -> Value | None:
    if name not in space or not is_number(value):
        return None
    parameter = space.parameter(name)
    now = float(value)
    if isinstance(parameter, Integer):
        end = parameter.high if up else parameter.low
        if (end <= now) if up else (end >= now):
            return None
        step = max(parameter.step, round(now * rng.uniform(0.05, 1.0 if up else 0.5)))
        return parameter.clip(now + step if up else now - step)
    if isinstance(parameter, Categorical):
        beyond = [v for v in parameter.values if is_number(v) and (float(v) > now if up else float(v) < now)]
        close = [v for v in beyond if 0.5 * now <= float(v) <= 2 * now] or beyond
        return close[rng.integers(len(close))] if close else None
    return None


def elsewhere(space: Space, name: str, value: Value, rng: np.random.Generator) -> Value | None:
    """Return another allowed value: near `value` for numbers, any for categories; None if there is no other."""
    parameter = space.parameter(name)
    if isinstance(parameter, Fixed) or parameter.cardinality <= 1:
        return None
    if isinstance(parameter, Categorical) and not parameter.ordered:
        alternatives = parameter.others(value)
        return alternatives[rng.integers(len(alternatives))]
    if isinstance(parameter, Categorical):
        place = parameter.place(value)
        around = [p for p in (place - 1, place + 1) if 0 <= p < len(parameter.values)]
        return parameter.values[around[rng.integers(len(around))]]
    for strength in (0.15, 0.15, 0.3, 0.3, 1.0, 1.0):
        unit = parameter.unit(value) + float(rng.normal()) * strength
        moved = parameter.from_unit(min(max(unit, 0.0), float(np.nextafter(1.0, 0.0))))
        if moved != value:
            return moved
    if isinstance(parameter, Real):
        return None
    return parameter.low if value != parameter.low else parameter.high


def change(before: Value, after: Value) -> str:
    """Format `before->after`, with at least three digits and as many as distinguish the two."""
    for digits in range(3, 17):
        texts = [
            f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in (before, after)
        ]
        if texts[0] != texts[1]:
            return "->".join(texts)
    return f"{before!r}->{after!r}"
