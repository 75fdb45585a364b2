"""How weights may lie in flash, and which way is chosen: what costs before training and the C export agree on.

dense   every weight
gaps    the nonzero weights, each with the number of zeros before it (one byte), and one byte per filter for those behind
mask    the nonzero weights, and one bit per weight, whole bytes per filter
"""

ENCODINGS = ("dense", "gaps", "mask")


def mask_bytes(filters: int, taps: int) -> int:
    """Bytes of the index of the mask encoding."""
    return filters * ((taps + 7) // 8)


def encoded_bytes(
    filters: int, taps: int, nonzeros: int, groups: int = 1, bridges: int = 0
) -> dict[str, int]:
    """Bytes of weights and index by encoding, dense first. Layers with groups are stored dense only.

    `bridges`: zeros that gaps store within runs of more than 255, where that is known.
    """
    found = {"dense": filters * taps}
    if groups == 1:
        found["gaps"] = 2 * (nonzeros + bridges) + filters
        found["mask"] = nonzeros + mask_bytes(filters, taps)
    return found
