"""UCI Japanese Vowels: 270 + 370 utterances of nine speakers (Kudo, Toyama, Shimbo 1999).

Each file holds blocks of lines, one block per utterance and one line per step, with empty lines between blocks.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.places import data_root, find
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput

_SPEAKERS = 9
_FEATURES = 12
_STEPS = 29
_COUNTS = {"train": (30,) * _SPEAKERS, "test": (31, 35, 88, 44, 29, 24, 40, 50, 29)}
"""Utterances of each speaker, in the order of the file."""


@dataset("vowels", shape=(_STEPS, _FEATURES), classes=_SPEAKERS, layout="time-features")
def vowels(root: Path | None) -> Arrays:
    """640 utterances of two Japanese vowels by nine speakers, 370 of them the official test set; the speaker is the class.

    Each is a sequence of 7 to 29 steps with 12 LPC cepstrum coefficients.

    Looks for `ae.train` and `ae.test` in `root/japanese-vowels` and in `root`; they are published at
    https://archive.ics.uci.edu/dataset/128/japanese+vowels. Raises DataMissing, InvalidInput for files of another form.
    """
    base = data_root(root)
    paths = {part: find(base, ["japanese-vowels"], [f"ae.{part}"]) for part in _COUNTS}
    if None in paths.values():
        missing = [f"ae.{part}" for part, path in paths.items() if path is None]
        raise DataMissing(
            "vowels",
            missing,
            str(base / "japanese-vowels"),
            "they are in https://archive.ics.uci.edu/static/public/128/japanese+vowels.zip",
        )
    train_x, train_lengths = _read(paths["train"], "train")
    test_x, test_lengths = _read(paths["test"], "test")
    return Arrays(
        x=train_x,
        y=_labels("train"),
        test_x=test_x,
        test_y=_labels("test"),
        classes=_SPEAKERS,
        names=tuple(f"speaker {number}" for number in range(1, _SPEAKERS + 1)),
        layout="time-features",
        lengths=train_lengths,
        test_lengths=test_lengths,
    )


def _labels(part: str) -> NDArray[np.int64]:
    return np.repeat(np.arange(_SPEAKERS), _COUNTS[part])


def _read(path: Path | None, part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the utterances of a file (N, 29, 12) with zeros behind their last steps, and their lengths (N,)."""
    if path is None:
        raise FileNotFoundError(part)
    text = path.read_text(encoding="ascii", errors="replace")
    blocks = [block.strip() for block in text.replace("\r", "").split("\n\n") if block.strip()]
    if len(blocks) != sum(_COUNTS[part]):
        raise InvalidInput("utterances", len(blocks), f"{sum(_COUNTS[part])}", str(path))
    x = np.zeros((len(blocks), _STEPS, _FEATURES), np.float32)
    lengths = np.zeros(len(blocks), np.int64)
    for place, block in enumerate(blocks):
        rows = [line.split() for line in block.split("\n")]
        try:
            values = np.array(rows, np.float32)
        except ValueError:
            raise InvalidInput(
                f"utterance {place}", block[:60], "numbers, equally many in each line", str(path)
            ) from None
        if values.shape[1] != _FEATURES or not 7 <= len(values) <= _STEPS:
            raise InvalidInput(
                f"utterance {place}", values.shape, f"7 to {_STEPS} lines of {_FEATURES} numbers", str(path)
            )
        x[place, : len(values)], lengths[place] = values, len(values)
    return x, lengths
