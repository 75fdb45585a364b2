"""Families of kernels that are generated for one shape, and the cores that run them."""

from collections.abc import Callable, Mapping

from sparsemod.kinds.dsp import has_dsp
from sparsemod.kinds.mve import has_mve
from sparsemod.kinds.v6m import has_v6m

FAMILIES: Mapping[str, Callable[[str], bool]] = {"dsp": has_dsp, "mve": has_mve, "v6m": has_v6m}
"""Family -> whether a core runs its kernels: kernels/nn_FAMILY.h, and the templates whose names start with FAMILY_."""


def family_of(core: str) -> str:
    """Return the family whose kernels run on `core`; "" for none."""
    return next((family for family, runs in FAMILIES.items() if runs(core)), "")
