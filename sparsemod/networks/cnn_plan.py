"""Translate parameters of the families `cnn` and `cnn1d` to layers, sizes and head for samples of one shape.

A sequence counts as an image of height 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.errors import BuildError
from sparsemod.records import DataInfo, Value


@dataclass(frozen=True)
class CnnLayer:
    """One layer of the plan. `size` is the (height, width) of its output; `dilation` the distance between the kernel's taps."""

    name: str
    type: str
    channels: int
    filters: int
    kernel: int
    size: tuple[int, int]
    dilation: int = 1


@dataclass(frozen=True)
class CnnPlan:
    """A network's layers for samples of one shape.

    `blocks` holds each block's layers and whether it ends with pooling.
    """

    blocks: tuple[tuple[tuple[CnnLayer, ...], bool], ...]
    size: tuple[int, int]
    head: str
    dense: tuple[int, ...]
    dropout: float

    @property
    def channels(self) -> int:
        """Number of channels of the last feature map."""
        return self.blocks[-1][0][-1].filters

    @property
    def halvings(self) -> int:
        """Number of poolings, each of which halves the feature map."""
        return sum(sum(layer.type == "down" for layer in layers) + pool for layers, pool in self.blocks)

    @property
    def features(self) -> int:
        """Width of the vector that enters the dense layers."""
        return self.channels * (self.size[0] * self.size[1] if self.head == "flatten" else 1)


def plan(parameters: Mapping[str, Value], data: DataInfo) -> CnnPlan:
    """Plan a network.

    Raises BuildError, which names block and layer, when a feature map is too small to be halved.
    """
    channels, *size = data.axes.image(data.shape)
    blocks = []
    for b in range(1, int(parameters["blocks"]) + 1):
        layers = []
        for n in range(1, int(parameters[f"b{b}_layers"]) + 1):
            name = f"b{b}_l{n}"
            kind = str(parameters[f"{name}_type"])
            filters, kernel = int(parameters[f"{name}_filters"]), int(parameters[f"{name}_kernel"])
            dilation = int(parameters.get(f"{name}_dilation", 1))
            if kind == "down":
                size = _halve(size, data, f"block {b}, layer {n} (down)", name)
            layers.append(CnnLayer(name, kind, channels, filters, kernel, (size[0], size[1]), dilation))
            channels = filters
        pool = bool(parameters[f"b{b}_pool"])
        if pool:
            size = _halve(size, data, f"block {b}, pooling", f"b{b}_pool")
        blocks.append((tuple(layers), pool))
    dense = tuple(int(parameters[f"d{i}_width"]) for i in range(1, int(parameters["dense"]) + 1))
    return CnnPlan(
        tuple(blocks), (size[0], size[1]), str(parameters["head"]), dense, float(parameters["dropout"])
    )


def _halve(size: list[int], data: DataInfo, place: str, name: str) -> list[int]:
    sequence = len(data.axes.positions) == 1
    if (size[1] if sequence else min(size)) >= 2:
        return [size[0] if sequence else size[0] // 2, size[1] // 2]
    _, rows, columns = data.axes.image(data.shape)
    small, whole = (
        (f"a sequence of {size[1]} step", f"sequences of {columns} steps")
        if sequence
        else (f"a feature map of {size[0]} x {size[1]}", f"images of {rows} x {columns}")
    )
    raise BuildError(
        f"{place}: {small} cannot be halved; the network is too deep for {whole} ({data.name})", layer=name
    )
