"""Widen a layer."""

from sparsemod.morphisms.operators.resize import Resize


class Widen(Resize):
    """Add filters or units to a layer.

    New ones have no effect at first (Net2Net's widening, without copies).
    """

    name = "widen"
    preserves = True
    up = True
