"""Patterns of copied elements: which element of a tensor each element of a copy is.

A pattern has up to six axes: element (i, j, ...) of the copy is element offset + i * strides[0] + j * strides[1] + ... of the source.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsemod.layouts import Shape, TensorLayout

AXES = 6
Index = NDArray[np.int64]
OUTSIDE = -1
"""The number of an element that the source does not have: padding."""


@dataclass(frozen=True)
class Pattern:
    """`sizes` and `strides` of the axes, the last one fastest, and the `offset` of the first element."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def elements(self) -> int:
        """Return the number of elements of the copy."""
        return math.prod(self.sizes)

    def index(self) -> Index:
        """Return the source's element for each element of the copy, as one axis."""
        found = np.full(1, self.offset, np.int64)
        for size, stride in zip(self.sizes, self.strides, strict=True):
            found = (found[:, None] + stride * np.arange(size)).reshape(-1)
        return found


def pattern_of(index: Index) -> Pattern | None:
    """Return the pattern of an index (one axis), or None when there is no pattern of at most six axes."""
    sizes: list[int] = []
    strides: list[int] = []
    rest = index
    while len(rest) > 1:
        if len(sizes) == AXES:
            return None
        size = _run(rest)
        if size is None:
            return None
        sizes.append(size)
        strides.append(int(rest[1] - rest[0]))
        rest = rest.reshape(-1, size)[:, 0]
    return Pattern(tuple(sizes[::-1]) or (1,), tuple(strides[::-1]) or (0,), int(rest[0]))


def by_axis(index: Index, given: Shape) -> tuple[tuple[int, ...], ...] | None:
    """Return the source's place for each place along every axis.

    () is an unchanged axis. None: the axes depend on each other.
    """
    if index.ndim != len(given):
        return None
    inside = index != OUTSIDE
    coordinates = np.stack(np.unravel_index(np.where(inside, index, 0), given))
    found, expected = [], np.ones(index.shape, bool)
    for axis, size in enumerate(given):
        others = tuple(other for other in range(index.ndim) if other != axis)
        along = np.where(inside, coordinates[axis], OUTSIDE).max(axis=others)
        shaped = along.reshape([-1 if other == axis else 1 for other in range(index.ndim)])
        expected &= shaped != OUTSIDE
        if np.any(inside & (coordinates[axis] != shaped)):
            return None
        found.append(() if np.array_equal(along, np.arange(size)) else tuple(int(v) for v in along))
    return tuple(found) if np.array_equal(expected, inside) else None


def _run(index: Index) -> int | None:
    """Return the length of the longest last axis: equal steps, the same in every run. None when there is no such axis."""
    steps = np.diff(index)
    different = np.flatnonzero(steps != steps[0])
    longest = len(index) if not len(different) else int(different[0]) + 1
    for size in range(longest, 1, -1):
        if len(index) % size == 0 and np.all(np.diff(index.reshape(-1, size), axis=1) == steps[0]):
            return size
    return None


def in_memory(index: Index, source: tuple[Shape, TensorLayout], made: tuple[Shape, TensorLayout]) -> Index:
    """Convert an index of elements in the order of arrays to the order of C's memory, for tensors (shape, layout)."""
    places = _memory_order(*source)
    where = np.empty_like(places)
    where[places] = np.arange(len(places))
    return np.asarray(where[index[_memory_order(*made)]], np.int64)


def _memory_order(shape: Shape, layout: TensorLayout) -> Index:
    """Return the array's element at each place in memory."""
    return np.ascontiguousarray(np.arange(math.prod(shape)).reshape(shape).transpose(layout.memory)).reshape(
        -1
    )
