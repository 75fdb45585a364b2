"""Earlier forms of substitutes, in which some published figures were counted: `NAME@YEAR-MONTH-DAY`.

They only serve counts. Each has a quirk that its author found later.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.substitutes.base import ConvShape, Making, Substitute, create
from sparsemod.substitutes.cp import Cp
from sparsemod.substitutes.hashed_decimate import HashedDecimate
from sparsemod.substitutes.sep import Sep
from sparsemod.substitutes.tensor_train import TensorTrain
from sparsemod.substitutes.tucker import Tucker

if TYPE_CHECKING:
    from torch import nn


class OneKernelSide(HashedDecimate):
    """`HashedDecimate` that takes a tenth of inputs x outputs x one side of the kernel."""

    def weights(self, shape: ConvShape) -> int:
        """Return inputs x outputs x side // 10."""
        return max(1, shape.inputs * shape.outputs * shape.kernel[0] // 10)


class AlwaysDepthwise(Sep):
    """`Sep` with a depthwise convolution even for a kernel of one position."""

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import Substituted, conv

        depthwise = conv(shape, making, 1.0, inputs=shape.inputs, outputs=shape.inputs, groups=shape.inputs)
        pointwise = conv(
            shape, making, 1.0, inputs=shape.inputs, outputs=shape.outputs, kernel=False, moves=False, bias=shape.bias
        )  # fmt: skip
        return Substituted(shape, str(self), {"depthwise": depthwise, "pointwise": pointwise})


class BothHashed(Substitute):
    """A tenth of a separable convolution, with hashed depthwise and pointwise weights that share it by their sizes."""

    name: ClassVar[str] = "SepHashedDecimate"
    adds_bias: ClassVar[bool] = True
    always: ClassVar[bool] = False
    """Whether a kernel of one position gets a depthwise convolution too."""

    def buckets(self, shape: ConvShape) -> tuple[int, int]:
        """Return the numbers of depthwise and pointwise weights."""
        grouped, full = shape.taps * shape.inputs, shape.inputs * shape.outputs
        total = (full + (grouped if shape.spatial else 0)) // 10
        if not (self.always or shape.spatial):
            return 0, max(1, total)
        return int(total * grouped / (grouped + full)), int(total * full / (grouped + full))

    def weights(self, shape: ConvShape) -> int:
        """Return the number of weights with the depthwise bias."""
        depthwise, pointwise = self.buckets(shape)
        return depthwise + pointwise + (shape.inputs if depthwise else 0)

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers."""
        from sparsemod.substitutes.layers import HashedConv, Substituted

        depthwise, pointwise = self.buckets(shape)
        one = (1,) * len(shape.kernel)
        still = replace(shape, kernel=one, stride=one, padding=(0,) * len(one), dilation=one)
        if not depthwise:
            return Substituted(shape, str(self), {"pointwise": HashedConv(shape, pointwise, 1.0, making)})
        first = HashedConv(replace(shape, inputs=1, outputs=shape.inputs), depthwise, 1.0, making)
        first.groups = shape.inputs
        second = HashedConv(still, pointwise, 1.0, making)
        return Substituted(shape, str(self), {"depthwise": first, "pointwise": second})


class BothHashedAlways(BothHashed):
    """`BothHashed` with a depthwise convolution everywhere."""

    always: ClassVar[bool] = True


class WideTrain(TensorTrain):
    """The matrix itself with rank s x the larger side, at most the smaller one."""

    dimensions: ClassVar[int | None] = 2

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return sizes and ranks."""
        return (shape.outputs, shape.inputs), (1, _wide(self.number, shape), 1)


class WideTucker(Tucker):
    """The same rank for both sides of the matrix."""

    dimensions: ClassVar[int | None] = 2

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return sizes, Tucker ranks and the ranks of the core's train."""
        rank = _wide(self.number, shape)
        return (shape.outputs, shape.inputs), (rank, rank), (1, rank, 1)


class WideCp(Cp):
    """The matrix as a sum of s x the larger side products, at most the smaller one."""

    dimensions: ClassVar[int | None] = 2

    def tensor(self, shape: ConvShape) -> tuple[tuple[int, ...], int]:
        """Return the sizes and the number of products."""
        return (shape.outputs, shape.inputs), _wide(self.number, shape)


def _wide(share: float, shape: ConvShape) -> int:
    return min(max(1, round(share * max(shape.inputs, shape.outputs))), shape.inputs, shape.outputs)


FORMS: dict[str, Callable[..., Substitute]] = {
    "HashedDecimate@2018-11-21": OneKernelSide,
    "Sep@2018-12-11": AlwaysDepthwise,
    "SepHashedDecimate@2018-12-11": BothHashedAlways,
    "SepHashedDecimate@2018-12-14": BothHashed,
    "TensorTrain@2018-12-18": WideTrain,
    "Tucker@2018-12-18": WideTucker,
    "CP@2018-12-18": WideCp,
}
"""Earlier forms, by name and date; a setting stands before the `@`: `Tucker_0.1@2018-12-18`."""


def dated(text: str, field: str = "substitute") -> Substitute:
    """Return the substitute of a name, which may be dated. Raises UnknownName, InvalidInput."""
    name, at, date = text.partition("@")
    if not at:
        return create(text, field)
    current = create(name, field)
    form = FORMS.get(f"{current.name}@{date}")
    if form is None:
        raise UnknownName(field, text, FORMS)
    if current.dims != current.dimensions:
        raise InvalidInput(field, text, f"{current.name} of {date} without dimensions: it has two")
    return form(current.value)
