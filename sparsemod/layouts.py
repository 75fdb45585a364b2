"""What the axes of one sample mean, by name, and how each layout lies in the memory of the generated C.

| layout | shape | in C |
| --- | --- | --- |
| features | (F,) | as it is |
| channels-length | (C, L) | length, channels |
| time-features | (T, F) | as it is: the features are the channels of each time step |
| channels-height-width | (C, H, W) | height, width, channels |

Kernels work on images. `TensorLayout.image` is the image (C, H, W) that a sample is for them: a sequence is an image of height 1. A tensor lies
channels last in C, so that a sequence of either layout has the same bytes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsemod.errors import InvalidInput, UnknownName

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorLayout:
    """A layout: its `name`, the names of its `axes`, the axis of the channels and the axes of the positions (rows before columns)."""

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
        """The axes in the order in which C holds them: positions, then channels."""
        return (*self.positions, self.channel)

    def image(self, shape: Shape) -> tuple[int, int, int]:
        """(channels, rows, columns) as the kernels see a sample of this shape."""
        rows, columns = (1, 1, *(shape[axis] for axis in self.positions))[-2:]
        return shape[self.channel], rows, columns

    def sample(self, image: Shape) -> Shape:
        """The shape in this layout of an image (channels, rows, columns); the opposite of `image`."""
        sizes = (image[0], *image[len(image) - len(self.positions) :])
        places = (self.channel, *self.positions)
        return tuple(size for _, size in sorted(zip(places, sizes, strict=True)))

    def moves(self, shape: Shape) -> bool:
        """Whether the elements of a sample lie in another order in C than in the array."""
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
"""The layouts by name. The first one of each rank is the layout of a shape whose layout is not stated."""

RANKS = tuple(dict.fromkeys(layout.rank for layout in LAYOUTS.values()))
"""The ranks that samples may have."""


def default_layout(shape: Shape) -> str:
    """The name of the layout that a shape has when none is stated. Raises InvalidInput for a rank without a layout."""
    for layout in LAYOUTS.values():
        if layout.rank == len(shape):
            return layout.name
    raise InvalidInput("shape", shape, f"one of {described()}")


def layout(name: str | None, shape: Shape, field: str = "layout") -> TensorLayout:
    """The layout called `name` (None: the default one of the shape). Raises UnknownName, InvalidInput where the rank does not fit."""
    wanted = default_layout(shape) if name is None else name
    if wanted not in LAYOUTS:
        raise UnknownName(field, wanted, LAYOUTS)
    found = LAYOUTS[wanted]
    if found.rank != len(shape):
        raise InvalidInput(field, wanted, f"a layout of {len(shape)} axes, as the shape {shape} has")
    return found


def described() -> str:
    """All layouts with their axes, for error messages."""
    return ", ".join(f"{name} {found.title}" for name, found in LAYOUTS.items())


@dataclass(frozen=True)
class Tensors:
    """The tensors of a network by name: `shapes` of one sample, and `layouts` where they are not the default ones."""

    shapes: Mapping[str, Shape]
    layouts: Mapping[str, str] = field(default_factory=dict)

    def layout(self, name: str) -> TensorLayout:
        """A tensor's layout."""
        return layout(self.layouts.get(name), self.shapes[name])

    def image(self, name: str) -> tuple[int, int, int]:
        """A tensor as kernels see it: (channels, rows, columns)."""
        return self.layout(name).image(self.shapes[name])

    def moves(self, name: str) -> bool:
        """Whether C holds a tensor's elements in another order than the array does."""
        return self.layout(name).moves(self.shapes[name])

    def elements(self, name: str) -> int:
        """The number of a tensor's elements."""
        return math.prod(self.shapes[name])
