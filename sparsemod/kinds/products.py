"""Kinds that combine tensors with matrices or with constants of every position."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("matmul", Kind("matmul", "products of two matrices", inputs=2, any_layout=True, takes_factor=True))
KINDS.add(
    "offset",
    Kind(
        "offset",
        "sum with a constant for each element",
        in_place=True,
        fuses_activation=True,
        adds_constant=True,
    ),
)
