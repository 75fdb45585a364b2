"""The windows of a sequence vote: its probabilities are the mean of those of its windows."""

import numpy as np
from numpy.typing import NDArray


def voted(
    outputs: NDArray[np.float32], labels: NDArray[np.int64], sequence: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the logarithms of the mean probabilities of each sequence (sequences, classes), and its label.

    `outputs` (windows, classes) are logits; `sequence` (windows,): the sequence of each window, from 0, ascending.
    None: the samples are no windows, and everything is returned as it is.
    """
    if sequence is None:
        return outputs, labels
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    powers = np.exp(flat - flat.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    first = np.flatnonzero(np.diff(sequence, prepend=-1))
    counts = np.diff(first, append=len(sequence))
    means = np.add.reduceat(probabilities, first, axis=0) / counts[:, None]
    return np.log(np.maximum(means, 1e-30)).astype(np.float32), labels[first]
