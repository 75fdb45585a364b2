"""Kinds that divide each vector of channels by a number computed from it."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("softmax", Kind("softmax", "softmax over the channels", in_place=True))
KINDS.add("l2_normalize", Kind("l2_normalize", "vectors of length 1", in_place=True))
