"""Validation of a family's options; error messages name the option."""

from typing import Any

from sparsemod.errors import InvalidInput


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is a whole number from `low` to `high`. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(name, value, f"a whole number from {low} to {high}")
    return value


def share(name: str, value: Any) -> float:
    """Return `value` as float if it is at least 0 and below 1. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidInput(name, value, "a number from 0 to below 1")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is true or false. Raises InvalidInput."""
    if not isinstance(value, bool):
        raise InvalidInput(name, value, "true or false")
    return value
