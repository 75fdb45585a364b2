"""Kinds that go through the steps of a sequence, and that know how many of them are valid."""

from sparsemod.kinds.kind import KINDS, Kind


def _cell(name: str, title: str) -> Kind:
    return Kind(name, title, weighted=True, recurrent=True, dense=True, fixed_range=True)


KINDS.add("gru", _cell("gru", "gated recurrent unit, one layer in one direction"))
KINDS.add("lstm", _cell("lstm", "long short-term memory, one layer in one direction"))
KINDS.add("last_step", Kind("last_step", "the last valid step", keeps_scale=True))
KINDS.add("mean_steps", Kind("mean_steps", "mean over the valid steps", keeps_scale=True))
