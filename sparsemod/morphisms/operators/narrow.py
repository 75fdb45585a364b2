"""Narrow a layer."""

from sparsemod.morphisms.operators.resize import Resize


class Narrow(Resize):
    """Reduce the filters or units of a layer; keep the strongest."""

    name = "narrow"
    preserves = False
    up = False
