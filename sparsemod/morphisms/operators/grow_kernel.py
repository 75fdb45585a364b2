"""Enlarge a layer's kernel."""

from sparsemod.morphisms.operators.resize import Resize


class GrowKernel(Resize):
    """Enlarge a kernel; new taps start at zero."""

    name = "grow kernel"
    preserves = True
    up = True
