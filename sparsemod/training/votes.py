"""The windows of a sequence vote: its probabilities are the mean of those of its windows."""

from typing import Any

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


def sequence_facts(
    sequence: NDArray[np.int64] | None, lengths: NDArray[np.int64] | None, value: float, window_value: float
) -> dict[str, Any]:
    """Return the facts about the sequences of a measurement as plain values; {} for samples that are no sequences.

    `lengths`: least, mean and most valid steps of a sample. Of windows also the numbers of `sequences`, of `windows`,
    of sequences with several windows (`voting`), the least, mean and most windows of a sequence
    (`windows_each`), the metric of the sequences (`value`) and that of single windows without votes (`window_value`).
    """
    facts: dict[str, Any] = {}
    if sequence is not None:
        counts = np.bincount(sequence)
        facts |= {
            "sequences": len(counts), "windows": len(sequence), "voting": int((counts > 1).sum()),
            "windows_each": _spread(counts), "value": value, "window_value": window_value,
        }  # fmt: skip
    if lengths is not None:
        facts["lengths"] = _spread(lengths)
    return facts


def _spread(counts: NDArray[np.int64]) -> list[float]:
    return [int(counts.min()), round(float(counts.mean()), 3), int(counts.max())]
