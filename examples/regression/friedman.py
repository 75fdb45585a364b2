"""Friedman's first problem (1991): ten features of which five count, and a target with noise of deviation 1."""

from pathlib import Path

from sklearn.datasets import make_friedman1

from sparsemod.data import Arrays, dataset


@dataset("friedman", shape=(10,), classes=1)
def friedman(root: Path | None, samples: int = 2000) -> Arrays:
    """Return features (samples, 10) from 0 to 1 and targets (samples, 1), about 0 to 30."""
    x, y = make_friedman1(samples, noise=1.0, random_state=0)
    return Arrays(x, y[:, None], names=("response",))
