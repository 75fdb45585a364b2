"""Translate parameters of the family `mobile` to blocks and sizes for images of one shape."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsemod.errors import BuildError
from sparsemod.records import DataInfo, Value

Size = tuple[int, int]


@dataclass(frozen=True)
class MobileBlock:
    """One block; the stem is a block of type "stem" with one path.

    `channels`: of its input. `filters`: of each path of a "conv" block, else of the output. `kernels`: one for each path,
    or that of the depthwise convolution. `inner`: channels of the depthwise convolution. `join`: "add" or "concat".
    `down`: "none", "stride" or "pool". `squeezed`: units of squeeze-and-excite, 0 without it. `size`: (height, width)
    of the output.
    """

    name: str
    type: str
    channels: int
    filters: int
    kernels: tuple[int, ...]
    inner: int
    join: str
    down: str
    squeezed: int
    residual: bool
    size: Size

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return self.filters * (len(self.kernels) if self.join == "concat" else 1)

    @property
    def stride(self) -> int:
        """Stride of the depthwise convolution or of each path."""
        return 2 if self.down == "stride" else 1


@dataclass(frozen=True)
class MobilePlan:
    """A network for images of one shape. `blocks` begin with the stem, if there is one."""

    blocks: tuple[MobileBlock, ...]
    head: str
    dense: tuple[int, ...]
    dropout: float

    @property
    def size(self) -> Size:
        """(height, width) of the last feature map."""
        return self.blocks[-1].size

    @property
    def features(self) -> int:
        """Width of the vector that enters the dense layers."""
        area = self.size[0] * self.size[1] if self.head == "flatten" else 1
        return self.blocks[-1].outputs * area


def plan(parameters: Mapping[str, Value], data: DataInfo) -> MobilePlan:
    """Plan a network.

    Raises BuildError, which names the block, when a feature map is too small for its stride or pooling.
    """
    channels, rows, columns = data.axes.image(data.shape)
    names = ["stem"] if parameters.get("stem", False) else []
    names += [f"b{b}" for b in range(1, int(parameters["blocks"]) + 1)]
    blocks: list[MobileBlock] = []
    size = (rows, columns)
    for name in names:
        block = _block(name, parameters, channels, not blocks, size, data)
        blocks.append(block)
        channels, size = block.outputs, block.size
    dense = tuple(int(parameters[f"d{i}_width"]) for i in range(1, int(parameters["dense"]) + 1))
    return MobilePlan(tuple(blocks), str(parameters["head"]), dense, float(parameters["dropout"]))


def _block(
    name: str, parameters: Mapping[str, Value], channels: int, first: bool, size: Size, data: DataInfo
) -> MobileBlock:
    kind = "stem" if name == "stem" else str(parameters[f"{name}_type"])
    filters, down = int(parameters[f"{name}_filters"]), str(parameters[f"{name}_down"])
    join, inner = "add", channels
    if kind == "conv":
        paths = int(parameters[f"{name}_branches"])
        kernels = tuple(int(parameters[f"{name}_p{p}_kernel"]) for p in range(1, paths + 1))
        join = str(parameters[f"{name}_join"]) if paths > 1 else "add"
    else:
        kernels = (int(parameters[f"{name}_kernel"]),)
    if kind == "inverted":
        inner = channels * int(parameters[f"{name}_expansion"])
    outputs = filters * len(kernels) if join == "concat" else filters
    squeezed = 0
    if parameters.get(f"{name}_squeeze", False):
        weighted = inner if kind == "inverted" else outputs
        squeezed = max(1, weighted // int(parameters[f"{name}_ratio"]))
    residual = kind == "inverted" and not first and down != "stride" and filters == channels
    return MobileBlock(
        name, kind, channels, filters, kernels, inner, join, down, squeezed, residual, _smaller(size, down, name, data)
    )  # fmt: skip


def _smaller(size: Size, down: str, name: str, data: DataInfo) -> Size:
    """Return the size after a block."""
    if down == "none":
        return size
    place = "the stem" if name == "stem" else f"block {name[1:]}"
    if (max(size) if down == "stride" else min(size)) < 2:
        _, rows, columns = data.axes.image(data.shape)
        how = "for stride 2" if down == "stride" else "to be halved by pooling"
        raise BuildError(
            f"{place}: a feature map of {size[0]} x {size[1]} is too small {how}; the network is too deep for images of "
            f"{rows} x {columns} ({data.name})",
            layer=f"{name}_down",
        )
    if down == "stride":
        return (size[0] + 1) // 2, (size[1] + 1) // 2
    return size[0] // 2, size[1] // 2
