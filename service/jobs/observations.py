"""Observations as JSON data, in which a task process gets them."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from sparsemod.sources.observation import Observation

_OBSERVATIONS = TypeAdapter(list[Observation])


def to_json(observations: Sequence[Observation]) -> Any:
    """Convert observations to JSON data."""
    return _OBSERVATIONS.dump_python(list(observations), mode="json")


def from_json(data: Any) -> list[Observation]:
    """Return the observations of `to_json`."""
    return _OBSERVATIONS.validate_python(data)
