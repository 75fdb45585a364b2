"""Narrow: one number of a layer."""

from sparsemod.morphisms.operators.resize import Resize


class Narrow(Resize):
    """Fewer filters or units in a layer; the strongest stay."""

    name = "narrow"
    preserves = False
    up = False
