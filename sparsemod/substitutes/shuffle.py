"""The substitute `Shuffle_g`: the linear ShuffleNet bottleneck."""

from typing import TYPE_CHECKING, ClassVar

from sparsemod.substitutes.base import SUBSTITUTES, ConvShape, Making, Setting, Substitute

if TYPE_CHECKING:
    from torch import nn


@SUBSTITUTES.register("Shuffle")
class Shuffle(Substitute):
    """Grouped pointwise to outputs / 4 channels, channel shuffle, depthwise, grouped pointwise; no relu between them.

    The number of groups is lowered until it divides inputs, outputs and the bottleneck. Source: Zhang et al.,
    "ShuffleNet", 2018.
    """

    name: ClassVar[str] = "Shuffle"
    compressed: ClassVar[tuple[str, ...] | None] = None
    setting: ClassVar[Setting | None] = Setting(1, 1024, whole=True, grows=False)

    def plan(self, shape: ConvShape) -> tuple[int, int]:
        """Return the bottleneck's channels and the groups. Raises BuildError below four outputs."""
        inner = shape.outputs // 4
        if inner < 1:
            raise self.refused(shape, "it needs at least 4 output channels")
        groups = int(self.number)
        while shape.inputs % groups or shape.outputs % groups or inner % groups:
            groups -= 1
        return inner, groups

    def weights(self, shape: ConvShape) -> int:
        """Return inputs x inner / g + taps x inner + inner x outputs / g. Raises BuildError."""
        inner, groups = self.plan(shape)
        depthwise = shape.taps * inner if shape.spatial else 0
        return shape.inputs * inner // groups + depthwise + inner * shape.outputs // groups

    def build(self, shape: ConvShape, making: Making) -> "nn.Module":
        """Return the layers. Raises BuildError."""
        from sparsemod.substitutes.layers import ChannelShuffle, Substituted, conv

        inner, groups = self.plan(shape)
        # A kernel's entry sums inner / groups^2 paths on average.
        variance = making.variance * shape.taps * groups
        layers: dict[str, nn.Module] = {
            "reduce": conv(
                shape, making, variance, inputs=shape.inputs, outputs=inner, groups=groups, kernel=False,
                moves=not shape.spatial,
            ),
            "shuffle": ChannelShuffle(groups),
        }  # fmt: skip
        if shape.spatial:
            layers["depthwise"] = conv(
                shape, making, 1.0 / shape.taps, inputs=inner, outputs=inner, groups=inner
            )
        layers["restore"] = conv(
            shape, making, groups / inner, inputs=inner, outputs=shape.outputs, groups=groups, kernel=False,
            moves=False, bias=shape.bias,
        )  # fmt: skip
        return Substituted(shape, str(self), layers)
