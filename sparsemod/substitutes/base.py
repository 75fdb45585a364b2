"""The registry of substitutes, their names, and the shape of the layer that they replace. Imports no torch.

A substitute takes the place of a convolution of `inputs` to `outputs` channels with a kernel: it has fewer weights and
trains from scratch. A name holds the substitute, its setting and its options: `Sep`, `SepHashed_0.2`, `Shuffle_4`,
`TensorTrain_0.26_d4`. Source of the family: Gray, Crowley, Storkey, "Separable layers enable structured efficient
linear substitutions", 2019.
"""

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sparsemod.errors import BuildError, InvalidInput, UnknownName
from sparsemod.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

NONE = "none"
"""The choice that leaves every layer unchanged."""


@dataclass(frozen=True)
class ConvShape:
    """A convolution over one or two axes without groups.

    `kernel`, `stride` and `dilation` have one number per axis; `padding` has too, or is "same" or "valid". `name` is the
    layer's name in its network, for messages.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    bias: bool = False
    name: str = ""

    @property
    def taps(self) -> int:
        """Number of positions of the kernel."""
        return math.prod(self.kernel)

    @property
    def spatial(self) -> bool:
        """Whether the kernel covers more than one position; only such layers get a depthwise convolution."""
        return self.taps > 1

    @property
    def depthwise(self) -> int:
        """Number of weights of the depthwise convolution; 0 for a kernel of one position."""
        return self.taps * self.inputs if self.spatial else 0


@dataclass(frozen=True)
class Setting:
    """The free setting of a substitute.

    `low` and `high` bound it, `whole` makes it a whole number, `grows` says whether a larger one has more weights.
    `default` is the value of a name without one; None: a name needs one.
    """

    low: float
    high: float
    whole: bool = False
    grows: bool = True
    default: float | None = None

    def allowed(self) -> str:
        """Return the range in words."""
        number = "a whole number" if self.whole else "a number above 0 and"
        bounds = f"from {self.low:g} to {self.high:g}" if self.whole else f"up to {self.high:g}"
        return f"{number} {bounds}"


@dataclass(frozen=True)
class Making:
    """How a substitute's weights are made: on `device` with `dtype`, without values on the meta device.

    `variance` is the variance of the entries of the replaced kernel: the substitute's dense kernel gets the same.
    """

    variance: float
    device: "torch.device"
    dtype: "torch.dtype"


class Substitute(ABC):
    """A substitute with its setting. A subclass is one file: the count of its weights, and its layers."""

    name: ClassVar[str]
    setting: ClassVar[Setting | None] = None
    dimensions: ClassVar[int | None] = None
    """Default number of tensor dimensions; None for a substitute without this option."""

    scales_decay: ClassVar[bool] = True
    """Whether weight decay is by default scaled by the compression ratio; it harms some substitutes."""

    compressed: ClassVar[tuple[str, ...] | None] = ("hashed", "pointwise")
    """Names of the substitute's layers whose weights are compressed; None: all layers."""

    def __init__(self, value: float | None = None, dimensions: int | None = None) -> None:
        self.value, self.dims = value, dimensions if dimensions is not None else self.dimensions

    @property
    def number(self) -> float:
        """The setting's value."""
        if self.value is None:
            raise InvalidInput("substitute", self.name, "a substitute with a setting")
        return self.value

    def __str__(self) -> str:
        parts = [self.name]
        if self.value is not None:
            parts.append(f"{self.value:.10g}")
        if self.dims is not None and self.dims != self.dimensions:
            parts.append(f"d{self.dims}")
        return "_".join(parts)

    def with_value(self, value: float) -> "Substitute":
        """Return this substitute with another value of its setting."""
        return type(self)(value, self.dims)

    @abstractmethod
    def weights(self, shape: ConvShape) -> int:
        """Return the number of weights, and of biases that the substitute itself adds, without the layer's own bias.

        Raises BuildError for a layer that it cannot replace.
        """

    @abstractmethod
    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the substitute of a layer. Raises BuildError for a layer that it cannot replace."""

    def parameters(self, shape: ConvShape) -> int:
        """Return the number of trained values of the substitute. Raises BuildError."""
        return self.weights(shape) + (shape.outputs if shape.bias or self.adds_bias else 0)

    adds_bias: ClassVar[bool] = False
    """Whether the substitute has a bias even where the layer has none."""

    def refused(self, shape: ConvShape, why: str) -> BuildError:
        """Return the error for a layer that the substitute cannot replace."""
        return BuildError(
            f"{self} cannot replace {shape.inputs} -> {shape.outputs} channels: {why}", shape.name
        )


SUBSTITUTES: Registry[type[Substitute]] = Registry(
    "substitute", "sparsemod.substitutes", ("sparsemod.substitutes @SUBSTITUTES",)
)
"""Substitutes by name."""

_DIMENSIONS = re.compile(r"d([0-9]+)")


def create(text: str, field: str = "substitute", *, free: bool = False) -> Substitute:
    """Return the substitute that a name such as `SepHashed_0.2` or `Tucker_0.4_d4` describes.

    With `free` the name may lack a needed setting, which then has its largest value.

    Raises UnknownName, or InvalidInput for a setting out of range, a missing one, or one too many.
    """
    name, *rest = text.split("_")
    if name not in SUBSTITUTES.names():
        raise UnknownName(field, text, SUBSTITUTES.names())
    kind = SUBSTITUTES.get(name)
    setting, value, dims = kind.setting, None, None
    for part in rest:
        found = _DIMENSIONS.fullmatch(part)
        if found and kind.dimensions is not None and dims is None and 2 <= int(found[1]) <= 8:
            dims = int(found[1])
        elif found:
            allowed = (
                "one number of dimensions, d2 to d8" if kind.dimensions else f"{name} without dimensions"
            )
            raise InvalidInput(field, text, allowed)
        elif setting is None or value is not None:
            raise InvalidInput(field, text, f"{name}{'' if setting is None else '_SETTING'} alone")
        else:
            value = _number(part, setting, field, text, name)
    if value is None and setting is not None and free:
        value = setting.high
    elif value is None and setting is not None:
        if setting.default is None:
            raise InvalidInput(field, text, f"{name}_SETTING with {setting.allowed()}")
        value = setting.default
    return kind(value, dims)


def _number(part: str, setting: Setting, field: str, text: str, name: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    above = value >= setting.low if setting.whole else value > 0
    if not (above and value <= setting.high) or (setting.whole and value != int(value)):
        raise InvalidInput(field, text, f"{name}_SETTING with {setting.allowed()}")
    return value


def check_choice(text: object, field: str = "substitute") -> str:
    """Return the canonical name of a choice: "none", or a substitute. Raises InvalidInput, UnknownName."""
    if not isinstance(text, str):
        raise InvalidInput(field, text, "the name of a substitute, such as SepHashed_0.2")
    return NONE if text == NONE else str(create(text, field))
