"""Kinds that divide channels by a number computed from them."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("softmax", Kind("softmax", "softmax over the channels", in_place=True))
KINDS.add("l2_normalize", Kind("l2_normalize", "vectors of length 1", in_place=True))
KINDS.add("log_softmax", Kind("log_softmax", "logarithm of softmax over the channels", in_place=True))
KINDS.add(
    "group_norm",
    Kind("group_norm", "normalization of groups of channels", in_place=True, fuses_activation=True),
)
