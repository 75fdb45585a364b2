"""How a layer's weights lie in flash: all of them, or only those that are not zero, with an index of their places.

    dense   every weight
    mask    the nonzero weights, and one bit per weight, whole bytes per filter
    gaps    the nonzero weights, each with the number of zeros before it (one byte), and one byte per filter for those behind

A gap of more than 255 zeros is bridged by stored zeros. The smallest is chosen for each layer; of equal ones the quickest.
Layers with groups (depthwise ones too) stay dense.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
_LONGEST = 255


@dataclass(frozen=True)
class Encoded:
    """`weights` as stored, `index` (None when dense) and the kernel that reads them."""

    name: str
    kernel: str
    weights: Int8
    index: NDArray[np.uint8] | None

    @property
    def bytes(self) -> int:
        """Of weights and index together."""
        return self.weights.size + (0 if self.index is None else self.index.size)


def encode(weight: Int8, groups: int = 1, sparse: bool = True) -> Encoded:
    """The smallest encoding of (outputs, taps) weights; with `sparse` False the dense one."""
    plain = Encoded("dense", "nn_apply", blocked(weight, groups), None)
    if not sparse or groups > 1:
        return plain
    best = min(plain, mask(weight), key=lambda encoded: encoded.bytes)
    if 2 * np.count_nonzero(weight) + len(weight) > best.bytes:
        return best  # gaps cannot be smaller
    return min(gaps(weight), best, key=lambda encoded: encoded.bytes)


def blocked(weight: Int8, groups: int) -> Int8:
    """(outputs, taps) as flat bytes: blocks of four filters and four taps, group by group, as in nn.h."""
    pieces = []
    for filters in np.split(weight, groups):
        whole, taps = len(filters) // 4 * 4, filters.shape[1] // 4 * 4
        for block in filters[:whole].reshape(-1, 4, filters.shape[1]):
            pieces.append(block[:, :taps].reshape(4, -1, 4).transpose(1, 0, 2).reshape(-1))
            pieces.append(block[:, taps:].T.reshape(-1))
        pieces.append(filters[whole:].reshape(-1))
    return np.concatenate(pieces)


def mask(weight: Int8) -> Encoded:
    """Nonzero weights and a bit for each weight."""
    bits = np.packbits(weight != 0, axis=1, bitorder="little")
    return Encoded("mask", "nn_apply_mask", weight[weight != 0], bits.reshape(-1))


def gaps(weight: Int8) -> Encoded:
    """Nonzero weights and the distances between them."""
    values: list[int] = []
    index: list[int] = []
    for filter_ in weight:
        start = 0
        for place in [*np.flatnonzero(filter_).tolist(), weight.shape[1]]:
            while place - start > _LONGEST:
                index.append(_LONGEST)
                values.append(0)
                start += _LONGEST + 1
            index.append(place - start)
            if place < weight.shape[1]:
                values.append(int(filter_[place]))
            start = place + 1
    return Encoded("gaps", "nn_apply_gaps", np.array(values, np.int8), np.array(index, np.uint8))
