"""Functions of one value, and per-channel lines."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("table", Kind("table", "a function by table", elementwise=True, in_place=True, rows_outside="none"))
KINDS.add(
    "prelu", Kind("prelu", "leaky activation with a slope per channel", in_place=True, per_channel=True)
)
# folded into a neighbour, or replaced by a table or a convolution, before the graph is deployed
KINDS.add("affine", Kind("affine", "constant scale and shift", affine=True, deployed=False))
