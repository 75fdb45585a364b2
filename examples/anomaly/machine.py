"""Synthetic vibration spectra of a machine: 32 bands, normal or with a worn bearing or a loose mount."""

from pathlib import Path

import numpy as np

from sparsemod.data import Arrays, dataset

BANDS = 32


@dataset("machine", shape=(BANDS,), classes=2)
def machine(root: Path | None, samples: int = 2400, share: float = 0.15) -> Arrays:
    """Return spectra (samples, 32) in decibels, and 0 for a normal and 1 for an anomalous machine.

    The speed differs between samples and moves the harmonics. A worn bearing adds a weak tone between them; a loose
    mount changes their ratio. Both stay within the range of each band of normal machines.
    """
    rng = np.random.default_rng(0)
    bands = np.arange(BANDS)
    speed = rng.uniform(4.0, 6.0, (samples, 1))
    load = rng.uniform(0.5, 1.5, (samples, 1))
    odd = rng.random(samples) < share
    worn = odd & (rng.random(samples) < 0.5)
    loose = odd & ~worn
    power = np.full((samples, BANDS), 0.02)
    for harmonic, strength in ((1, 1.0), (2, 0.5), (3, 0.3), (4, 0.15)):
        strengths = np.where(loose & (harmonic == 2), 1.6 * strength, strength)[:, None] * load
        power += strengths * np.exp(-0.5 * ((bands - harmonic * speed) / 0.8) ** 2)
    tone = 2.6 * speed
    power += np.where(worn, 0.25, 0.0)[:, None] * load * np.exp(-0.5 * ((bands - tone) / 0.8) ** 2)
    noisy = power * rng.lognormal(0.0, 0.15, power.shape)
    return Arrays(10 * np.log10(noisy), odd.astype(np.int64), targets="normal")
