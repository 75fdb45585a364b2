"""Widen: one number of a layer."""

from sparsemod.morphisms.operators.resize import Resize


class Widen(Resize):
    """More filters or units in a layer; the new ones start without any effect (Net2Net's widening, without copies)."""

    name = "widen"
    preserves = True
    up = True
