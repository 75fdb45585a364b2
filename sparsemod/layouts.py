"""Named layouts: the meaning of a sample's axes, and their order in the memory of the generated C code.

| layout | shape | in C |
| --- | --- | --- |
| features | (F,) | unchanged |
| channels-length | (C, L) | length, channels |
| time-features | (T, F) | unchanged: the features are the channels of each time step |
| channels-height-width | (C, H, W) | height, width, channels |

Kernels work on images. `TensorLayout.image` returns a sample's shape as an image (C, H, W): a sequence is an
image of height 1. Tensors are channels last in C, so a sequence has the same bytes in either layout.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsemod.errors import InvalidInput, UnknownName

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorLayout:
    """A layout: its `name`, the names of its `axes`, the channel axis and the position axes (rows before columns)."""

    name: str
    axes: tuple[str, ...]
    channel: int
    positions: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of axes of a sample."""
        return len(self.axes)

    @property
    def title(self) -> str:
        """The shape of a sample in words: "(channels, length)"."""
        return f"({', '.join(self.axes)}{',' if self.rank == 1 else ''})"

    @property
    def memory(self) -> tuple[int, ...]:
        """The axes in C's memory order: positions, then channels."""
        return (*self.positions, self.channel)

    def image(self, shape: Shape) -> tuple[int, int, int]:
        """Convert a sample's shape to the kernels' (channels, rows, columns)."""
        rows, columns = (1, 1, *(shape[axis] for axis in self.positions))[-2:]
        return shape[self.channel], rows, columns

    def sample(self, image: Shape) -> Shape:
        """Convert (channels, rows, columns) to a shape in this layout; the inverse of `image`."""
        sizes = (image[0], *image[len(image) - len(self.positions) :])
        places = (self.channel, *self.positions)
        return tuple(size for _, size in sorted(zip(places, sizes, strict=True)))

    def moves(self, shape: Shape) -> bool:
        """Whether C stores the elements of a sample in a different order than the array."""
        order = [axis for axis in self.memory if shape[axis] > 1]
        return order != sorted(order)


LAYOUTS: Mapping[str, TensorLayout] = {
    layout.name: layout
    for layout in (
        TensorLayout("features", ("features",), 0, ()),
        TensorLayout("channels-length", ("channels", "length"), 0, (1,)),
        TensorLayout("time-features", ("time", "features"), 1, (0,)),
        TensorLayout("channels-height-width", ("channels", "height", "width"), 0, (1, 2)),
    )
}
"""The layouts by name. The first one of each rank is the default for shapes of this rank."""

RANKS = tuple(dict.fromkeys(layout.rank for layout in LAYOUTS.values()))
"""The possible ranks of samples."""


def default_layout(shape: Shape) -> str:
    """Return the name of the default layout of a shape. Raises InvalidInput for a rank without a layout."""
    for layout in LAYOUTS.values():
        if layout.rank == len(shape):
            return layout.name
    raise InvalidInput("shape", shape, f"one of {described()}")


def layout(name: str | None, shape: Shape, field: str = "layout") -> TensorLayout:
    """Return the layout called `name` (None: the default of the shape).

    Raises UnknownName, or InvalidInput when the ranks differ.
    """
    layout_name = default_layout(shape) if name is None else name
    if layout_name not in LAYOUTS:
        raise UnknownName(field, layout_name, LAYOUTS)
    result = LAYOUTS[layout_name]
    if result.rank != len(shape):
        raise InvalidInput(field, layout_name, f"a layout of {len(shape)} axes, for the shape {shape}")
    return result


def described() -> str:
    """Describe all layouts with their axes, for error messages."""
    return ", ".join(f"{name} {each.title}" for name, each in LAYOUTS.items())


@dataclass(frozen=True)
class Tensors:
    """The tensors of a network by name: `shapes` of one sample, and `layouts` other than the default.

    `wide`: tensors whose elements are 16-bit numbers; those of all others are bytes."""

    shapes: Mapping[str, Shape]
    layouts: Mapping[str, str] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()

    def layout(self, name: str) -> TensorLayout:
        """Return a tensor's layout."""
        return layout(self.layouts.get(name), self.shapes[name])

    def image(self, name: str) -> tuple[int, int, int]:
        """Return a tensor's shape for the kernels: (channels, rows, columns)."""
        return self.layout(name).image(self.shapes[name])

    def moves(self, name: str) -> bool:
        """Whether C stores a tensor's elements in a different order than the array."""
        return self.layout(name).moves(self.shapes[name])

    def elements(self, name: str) -> int:
        """The number of a tensor's elements."""
        return math.prod(self.shapes[name])

    def bytes(self, name: str) -> int:
        """The bytes of a tensor."""
        return self.elements(name) * (2 if name in self.wide else 1)
