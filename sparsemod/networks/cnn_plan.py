"""Translate parameters of the family `cnn` to layers, sizes and head for images of one shape."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.errors import BuildError
from sparsemod.records import DataInfo, Value


@dataclass(frozen=True)
class CnnLayer:
    """One layer of the plan. `size` is the (height, width) of its output."""

    name: str
    type: str
    channels: int
    filters: int
    kernel: int
    size: tuple[int, int]


@dataclass(frozen=True)
class CnnPlan:
    """A network's layers for images of one shape.

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
    def features(self) -> int:
        """Width of the vector that enters the dense layers."""
        return self.channels * (self.size[0] * self.size[1] if self.head == "flatten" else 1)


def plan(parameters: Mapping[str, Value], data: DataInfo) -> CnnPlan:
    """Plan a network.

    Raises BuildError, which names block and layer, when a feature map is too small to be halved.
    """
    channels, *size = data.shape
    blocks = []
    for b in range(1, int(parameters["blocks"]) + 1):
        layers = []
        for n in range(1, int(parameters[f"b{b}_layers"]) + 1):
            name = f"b{b}_l{n}"
            kind = str(parameters[f"{name}_type"])
            filters, kernel = int(parameters[f"{name}_filters"]), int(parameters[f"{name}_kernel"])
            if kind == "down":
                size = _halve(size, data, f"block {b}, layer {n} (down)", name)
            layers.append(CnnLayer(name, kind, channels, filters, kernel, (size[0], size[1])))
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
    if min(size) < 2:
        raise BuildError(
            f"{place}: a feature map of {size[0]} x {size[1]} cannot be halved; the network is too deep for images of "
            f"{data.shape[1]} x {data.shape[2]} ({data.name})",
            layer=name,
        )
    return [size[0] // 2, size[1] // 2]
