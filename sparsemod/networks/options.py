"""Checks of a family's options; the messages name the option."""

from typing import Any

from sparsemod.errors import InvalidInput


def whole(name: str, value: Any, low: int, high: int) -> int:
    """`value` as a whole number from `low` to `high`. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(name, value, f"a whole number from {low} to {high}")
    return value


def share(name: str, value: Any) -> float:
    """`value` as a number from 0 to below 1. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidInput(name, value, "a number from 0 to below 1")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """`value` as true or false. Raises InvalidInput."""
    if not isinstance(value, bool):
        raise InvalidInput(name, value, "true or false")
    return value
