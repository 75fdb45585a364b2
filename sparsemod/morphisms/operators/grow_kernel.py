"""Grow kernel: one number of a layer."""

from sparsemod.morphisms.operators.resize import Resize


class GrowKernel(Resize):
    """A larger kernel; the new taps start at zero."""

    name = "grow kernel"
    preserves = True
    up = True
