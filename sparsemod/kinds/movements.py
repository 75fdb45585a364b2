"""Kinds that copy elements to other places."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add(
    "move", Kind("move", "elements in another order", clamps_early=True, keeps_scale=True, any_layout=True)
)
KINDS.add("take", Kind("take", "chosen rows, columns and channels", clamps_early=True, keeps_scale=True))
KINDS.add(
    "interpolate",
    Kind("interpolate", "bilinear interpolation between positions", positions=True, keeps_scale=True),
)
