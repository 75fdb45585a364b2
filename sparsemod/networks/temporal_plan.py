"""Translate parameters of the family `cnn_rnn` to its convolutions."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.records import Value


@dataclass(frozen=True)
class TemporalConv:
    """A convolution over time; `pool`: whether two steps become one after it."""

    name: str
    filters: int
    kernel: int
    pool: bool


def temporal_plan(parameters: Mapping[str, Value]) -> tuple[TemporalConv, ...]:
    """Return the convolutions of a candidate."""
    return tuple(
        TemporalConv(
            f"c{i}",
            int(parameters[f"c{i}_filters"]),
            int(parameters[f"c{i}_kernel"]),
            bool(parameters[f"c{i}_pool"]),
        )
        for i in range(1, int(parameters["convs"]) + 1)
    )
