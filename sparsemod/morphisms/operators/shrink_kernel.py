"""Reduce a layer's kernel."""

from sparsemod.morphisms.operators.resize import Resize


class ShrinkKernel(Resize):
    """Reduce a kernel; keep the central taps."""

    name = "shrink kernel"
    preserves = False
    up = False
