"""Seeds that follow from a seed and a purpose."""

from sparsemod.files import fingerprint


def derived_seed(seed: int, *purpose: object) -> int:
    """Return a seed of 63 bits for one purpose, such as an epoch's order of samples.

    Seeds of different purposes are independent, and equal on every machine.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(bytes.fromhex(fingerprint(text)[:16]), "little") >> 1
