"""Kinds that move or join elements without changing them."""

from sparsemod.kinds.kind import KINDS, Kind

KINDS.add("concat", Kind("concat", "concatenation", inputs=None, joins=True))
KINDS.add("flatten", Kind("flatten", "one vector", view=True, clamps_early=True, keeps_scale=True))
KINDS.add(
    "reshape",
    Kind("reshape", "the same elements with other axes", view=True, clamps_early=True, keeps_scale=True),
)
KINDS.add(
    "transpose",
    Kind(
        "transpose",
        "channels first to last, or back",
        view=True,
        same_image=True,
        clamps_early=True,
        keeps_scale=True,
    ),
)
# merged into the following convolution before the captured graph is complete
KINDS.add(
    "pad",
    Kind(
        "pad",
        "zeros around the positions",
        captured=False,
        deployed=False,
        takes_padding=True,
        positions=True,
    ),
)
