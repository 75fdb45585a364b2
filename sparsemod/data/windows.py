"""The splitter: cut sequences into windows of equal length.

A sequence of at most `max_len` valid steps is one window, padded with zeros. A longer one is cut at every `stride`
steps. What remains behind the last whole window becomes a padded window ("pad"), a window that ends with the sequence
and overlaps the one before it ("overlap"), or is left out ("drop").
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.records import DataInfo

Remainder = Literal["pad", "overlap", "drop"]


@dataclass(frozen=True)
class Splitter:
    """How sequences are cut: windows of `max_len` steps, one every `stride` steps."""

    max_len: int
    stride: int
    remainder: Remainder = "pad"

    def places(self, length: int) -> list[tuple[int, int]]:
        """Return (first step, number of steps) of each window of a sequence with `length` valid steps."""
        if length <= self.max_len:
            return [(0, length)]
        places = [(start, self.max_len) for start in range(0, length - self.max_len + 1, self.stride)]
        covered = places[-1][0] + self.max_len
        if covered < length and self.remainder == "overlap":
            places.append((length - self.max_len, self.max_len))
        elif covered < length and self.remainder == "pad":
            start = places[-1][0] + self.stride
            if start < length:
                places.append((start, length - start))
        return places

    def cut(
        self, x: NDArray[Any], lengths: NDArray[Any] | None, axis: int
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return (windows, their valid steps, the index of the sequence of each window).

        `x` (N, ...) has its steps in `axis`, and zeros as padding; windows have `max_len` steps there. `lengths`
        (N,): the valid steps of each sequence; None: all.
        """
        steps = np.moveaxis(x, axis, 1)
        known = np.full(len(x), steps.shape[1]) if lengths is None else lengths
        places = [(i, *place) for i, length in enumerate(known) for place in self.places(int(length))]
        windows = np.zeros((len(places), self.max_len, *steps.shape[2:]), x.dtype)
        for row, (i, start, count) in enumerate(places):
            windows[row, :count] = steps[i, start : start + count]
        table = np.array(places, dtype=np.int64).reshape(-1, 3)
        return np.ascontiguousarray(np.moveaxis(windows, 1, axis)), table[:, 2].copy(), table[:, 0].copy()


def windowed_info(info: DataInfo, splitter: Splitter) -> DataInfo:
    """Return the facts about windows of a dataset of sequences.

    Raises InvalidInput for samples that are no sequences.
    """
    if len(info.axes.positions) != 1:
        allowed = "only for sequences: samples (channels, length) or (time, features)"
        raise InvalidInput("dataset.splitter", info.shape, allowed)
    shape = list(info.shape)
    shape[info.axes.positions[0]] = splitter.max_len
    return info.model_copy(update={"shape": tuple(shape), "sequences": True})
