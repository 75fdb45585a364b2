"""Elementwise kinds of two tensors, of which one may be repeated along some axes."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("sum", Kind("sum", "sum of two tensors, with repetition", inputs=2, fuses_activation=True))
KINDS.add("subtract", Kind("subtract", "difference of two tensors", inputs=2, fuses_activation=True))
KINDS.add(
    "multiply", Kind("multiply", "product of two tensors", inputs=2, fuses_activation=True, absorbs_zero=True)
)
KINDS.add("maximum", Kind("maximum", "larger of two tensors", inputs=2, fuses_activation=True))
KINDS.add("minimum", Kind("minimum", "smaller of two tensors", inputs=2, fuses_activation=True))
