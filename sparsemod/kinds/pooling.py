"""Kinds that pool positions."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add(
    "max_pool",
    Kind(
        "max_pool", "max pooling", window=True, positions=True, clamps_early=True, keeps_scale=True, rows_outside="lowest",
    ),
)  # fmt: skip
KINDS.add(
    "avg_pool",
    Kind("avg_pool", "average pooling", window=True, positions=True, keeps_scale=True, rows_outside="none"),
)
KINDS.add("global_avg_pool", Kind("global_avg_pool", "mean over all positions", positions=True))
