"""Kinds that make features of the frames of a signal."""

from sparsemod.kinds.kind import KINDS, Kind


def _features(name: str, title: str) -> Kind:
    return Kind(name, title, positions=True, takes_affine=True, reads_wide=True)


KINDS.add("band_energies", _features("band_energies", "energies of frequency bands, or their cepstrum"))
KINDS.add("window_statistics", _features("window_statistics", "statistics of windows"))
