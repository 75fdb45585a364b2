"""Sequences of different lengths as one padded array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput

_MOST = 2**31
"""Largest number of values of a padded array: 8 GB."""


def padded(
    sequences: Sequence[NDArray[Any]], axis: int, field: str = "x"
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return (array (N, ...) with zeros behind the last steps, lengths (N,)) of sequences whose steps are in `axis`.

    Raises InvalidInput for an empty list, for sequences of different features, empty ones, and for arrays of over
    2^31 values.
    """
    if not sequences:
        raise InvalidInput(field, 0, "at least one sequence")
    features = {np.moveaxis(one, axis, 0).shape[1:] for one in sequences}
    if len(features) > 1:
        raise InvalidInput(field, sorted(map(str, features)), "sequences with the same features in each step")
    lengths = np.array([one.shape[axis] for one in sequences], np.int64)
    if lengths.min() < 1:
        raise InvalidInput(f"{field}[{int(lengths.argmin())}]", 0, "at least one step")
    shape = (len(sequences), int(lengths.max()), *features.pop())
    if np.prod(shape, dtype=np.float64) > _MOST:
        raise InvalidInput(field, shape, f"at most {_MOST:,} values when padded to the longest sequence")
    out = np.zeros(shape, np.result_type(*sequences))
    for row, one in zip(out, sequences, strict=True):
        row[: one.shape[axis]] = np.moveaxis(one, axis, 0)
    return np.moveaxis(out, 1, 1 + axis), lengths


def lengths_of_mask(mask: NDArray[Any], field: str) -> NDArray[np.int64]:
    """Return the lengths of masks (N, T) that are true for the valid steps, which come first. Raises InvalidInput."""
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise InvalidInput(field, (str(mask.dtype), mask.shape), "booleans (N, steps), true for valid steps")
    valid = mask.astype(bool)
    lengths = valid.sum(axis=1)
    wrong = np.flatnonzero((valid != (np.arange(valid.shape[1]) < lengths[:, None])).any(axis=1))
    if len(wrong):
        raise InvalidInput(
            f"{field}[{wrong[0]}]", valid[wrong[0]].tolist(), "valid steps first, then padding"
        )
    return np.asarray(lengths, dtype=np.int64)
