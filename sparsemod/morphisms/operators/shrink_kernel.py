"""Shrink kernel: one number of a layer."""

from sparsemod.morphisms.operators.resize import Resize


class ShrinkKernel(Resize):
    """A smaller kernel; the central taps stay."""

    name = "shrink kernel"
    preserves = False
    up = False
