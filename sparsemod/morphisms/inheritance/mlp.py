"""Inheritance in the family `mlp`."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from sparsemod.morphisms.inheritance.affine import LayoutMismatch, read
from sparsemod.morphisms.inheritance.dense import DenseLayer, Vector, inherit_dense
from sparsemod.morphisms.inheritance.generic import initial_state, or_generic
from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.morphisms.inheritance.signal import Signal
from sparsemod.records import DataInfo, Value


@or_generic(LayoutMismatch)
def inherit_mlp(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`."""
    state = initial_state(child_module)
    preserved, notes = inherit_dense(
        [read(parent_state, f"{name}.weight", norm) for name, norm in _layers(parent_parameters)],
        [DenseLayer(f"{name}.weight", norm) for name, norm in _layers(child_parameters)],
        Vector(Signal.of_input(math.prod(data.shape)), None, None),
        state,
    )
    return Inheritance(state, preserved, tuple(notes))


def _layers(parameters: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Return (name, prefix of its batch norm) of each layer."""
    return [(f"l{i}", f"norm{i}") for i in range(1, int(parameters["layers"]) + 1)] + [("classifier", "none")]
