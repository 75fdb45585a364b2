"""A kind of operator: a name and what is true of every operator of the kind."""

from dataclasses import dataclass

from sparsemod.errors import Unsupported
from sparsemod.registry import Registry


@dataclass(frozen=True)
class Kind:
    """A kind of operator and its traits. The traits speak of the operator in a graph and of the integer layer that it becomes.

    `inputs`: how many tensors it reads, None for any number. `layer`: the kind of the integer layer, where that has another name.
    """

    name: str
    title: str
    inputs: int | None = 1
    layer: str = ""
    elementwise: bool = False
    """Each output value depends on the input values at the same place alone; input and output have one shape."""
    view: bool = False
    """The output has the input's bytes; C may share the memory."""
    same_image: bool = False
    """A view whose output is the same image as its input, with the axes in another order: C holds both alike."""
    window: bool = False
    """It moves a window over the positions: has kernel, stride, padding, dilation."""
    positions: bool = False
    """Its input has channels first and positions: a sequence or an image."""
    weighted: bool = False
    """It has weights, one filter per output channel; they count as parameters and are stored."""
    affine: bool = False
    """It scales and shifts each channel by constants: a neighbour with weights may take it in."""
    takes_affine: bool = False
    """Its weights can take in a scale and a shift of its input's or output's channels."""
    activation: str | None = None
    """It is this activation: "relu" or "relu6"."""
    fuses_activation: bool = False
    """It can end in an activation, its attribute `activation`."""
    clamps_early: bool = False
    """Clamping its input gives the same as clamping its output: an activation may move in front of it. (Not so for means.)"""
    keeps_scale: bool = False
    """Its output has its input's scale and zero point."""
    in_place: bool = False
    """It works on its input's bytes where nothing reads them afterwards. (Kernels may do so for more kinds: see the memory rules.)"""
    joins: bool = False
    """It puts its inputs one after another; inputs that nothing else reads take the output's scale."""
    any_order: bool = False
    """It can read a vector's elements in any order, because its weights can be permuted."""
    takes_padding: bool = False
    """Zero padding in front of it can become its own."""
    captured: bool = True
    """A captured graph may hold it."""
    deployed: bool = True
    """A deployed graph may hold it."""

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
    ),
)
"""Every kind of operator by name. A package adds one by the entry point group `sparsemod.operators`, whose module registers the rules too."""


def kind_of(name: str, layer: str = "", by: str = "sparsemod") -> Kind:
    """The kind called `name`. Raises Unsupported, naming the layer and the stage `by`, for one that is not registered."""
    names = KINDS.names()
    if name not in names:
        raise Unsupported(name, layer, by, names)
    return KINDS.get(name)
