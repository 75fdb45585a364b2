"""Encodings of weights in flash, shared by the costs before training and the C export.

dense   every weight; a core with kernels of their own for layers of this shape has the weights in their order
plain   every weight, in the order of the kernel that runs on every core
gaps    the nonzero weights, each with the number of zeros before it (one byte), and one byte per filter for those behind
mask    the nonzero weights, and one bit per weight, whole bytes per filter
"""

from typing import Any

ENCODINGS = ("dense", "plain", "gaps", "mask")

LONGEST_GAP = 255
"""Largest number of zeros before a weight that `gaps` stores; a stored zero bridges longer runs."""


def bridging_zeros(run: Any) -> Any:
    """Return the number of zeros that `gaps` stores within a run of `run` zeros: a number or an array of numbers."""
    return run // (LONGEST_GAP + 1)


def mask_bytes(filters: int, taps: int) -> int:
    """Return the index size of the mask encoding in bytes."""
    return filters * ((taps + 7) // 8)


def encoded_bytes(
    filters: int, taps: int, nonzeros: int, groups: int = 1, bridges: int = 0
) -> dict[str, int]:
    """Return the bytes of weights and index by encoding, dense first. Layers with groups only have the dense encoding.

    `bridges`: the number of zeros that `gaps` stores within runs of more than `LONGEST_GAP` zeros, when known.
    """
    sizes = {"dense": filters * taps}
    if groups == 1:
        sizes["gaps"] = 2 * (nonzeros + bridges) + filters
        sizes["mask"] = nonzeros + mask_bytes(filters, taps)
    return sizes
