"""A kind of operator: a name, and the traits that every operator of the kind has."""

from dataclasses import dataclass

from sparsemod.errors import Unsupported
from sparsemod.registry import Registry


@dataclass(frozen=True)
class Kind:
    """A kind of operator and its traits. The traits hold for the operator in a graph and for its integer layer.

    `inputs`: the number of input tensors, None for any number. `layer`: the kind of the integer layer, when its name differs.
    """

    name: str
    title: str
    inputs: int | None = 1
    layer: str = ""
    elementwise: bool = False
    """Each output value depends only on the input values at the same position; input and output have the same shape."""
    view: bool = False
    """The output has the same bytes as the input; C may share the memory."""
    same_image: bool = False
    """A view whose output is its input's image with permuted axes: both have the same bytes in C."""
    window: bool = False
    """It moves a window over the positions, with kernel, stride, padding and dilation."""
    positions: bool = False
    """Its input has channels first and positions: a sequence or an image."""
    weighted: bool = False
    """It has weights, one filter per output channel; they count as parameters and are stored."""
    affine: bool = False
    """It scales and shifts each channel by constants: it can be folded into a neighbour with weights."""
    per_channel: bool = False
    """It has a constant for each channel beside filters, and works on each channel alone: a removed channel takes its constant along."""
    absorbs_zero: bool = False
    """A zero in any input gives zero, whatever the other inputs are."""
    takes_affine: bool = False
    """A scale and a shift of its input's or output's channels can be folded into its weights."""
    adds_constant: bool = False
    """It adds its weight, which has its output's shape: two in a row are one."""
    takes_factor: bool = False
    """A constant factor of its output can be folded into its attribute `factor`."""
    activation: str | None = None
    """It is this activation: "relu" or "relu6"."""
    fuses_activation: bool = False
    """It can have a fused activation, in its attribute `activation`."""
    clamps_early: bool = False
    """Clamping its input gives the same as clamping its output: an activation may move in front of it. (Not so for means.)"""
    any_layout: bool = False
    """Its output may have another layout than its input."""
    keeps_scale: bool = False
    """Its output has its input's scale and zero point."""
    in_place: bool = False
    """It works in place when no later step reads its input. (Kernels of more kinds may do so: see the memory rules.)"""
    joins: bool = False
    """It concatenates its inputs; inputs without other readers take the output's scale."""
    any_order: bool = False
    """It can read a vector's elements in any order, because its weights can be permuted."""
    takes_padding: bool = False
    """Zero padding before it can be merged into its own padding."""
    recurrent: bool = False
    """It has a state that passes from each step of a sequence to the next."""
    dense: bool = False
    """Its weights are always stored densely."""
    reads_wide: bool = False
    """It reads the network's input, whose elements are 16-bit numbers then."""
    fixed_range: bool = False
    """Its output has a scale and zero point that do not depend on the samples."""
    rows_outside: str | None = None
    """Its kernel may compute some rows of the output at a time, from the rows that they depend on. The value says what rows above and
    below its input hold: "zero" (the input's zero point), "lowest" (-128), or "none" where it may have no such padding."""
    captured: bool = True
    """A captured graph may contain it."""
    deployed: bool = True
    """A deployed graph may contain it."""

    def __post_init__(self) -> None:
        if not self.layer:
            object.__setattr__(self, "layer", self.name)


KINDS: Registry[Kind] = Registry(
    "kind of operator",
    "sparsemod.operators",
    builtin=(
        "sparsemod.kinds.weighted",
        "sparsemod.kinds.pooling",
        "sparsemod.kinds.pointwise",
        "sparsemod.kinds.shaping",
        "sparsemod.kinds.functions",
        "sparsemod.kinds.pairs",
        "sparsemod.kinds.movements",
        "sparsemod.kinds.normalizing",
        "sparsemod.kinds.products",
        "sparsemod.kinds.recurrent",
        "sparsemod.kinds.signals",
    ),
)
"""Every kind of operator by name.

A package adds a kind through the entry point group `sparsemod.operators`; its module also registers the rules."""


def kind_of(name: str, layer: str = "", by: str = "sparsemod") -> Kind:
    """Return the kind called `name`. Raises Unsupported, with the layer and the stage `by`, for an unregistered kind."""
    names = KINDS.names()
    if name not in names:
        raise Unsupported(name, layer, by, names)
    return KINDS.get(name)
