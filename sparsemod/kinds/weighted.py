"""Kinds with weights, and batch norm, which is folded into them."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add(
    "conv",
    Kind(
        "conv", "convolution", window=True, positions=True, weighted=True, takes_affine=True, fuses_activation=True,
        takes_padding=True, rows_outside="zero",
    ),
)  # fmt: skip
KINDS.add(
    "linear",
    Kind("linear", "matrix times vector", weighted=True, takes_affine=True, fuses_activation=True, any_order=True),
)  # fmt: skip
KINDS.add("batch_norm", Kind("batch_norm", "batch normalization", affine=True, deployed=False))
