"""A user's files in folders that are named like their classes: CSV files of sequences, or WAV files."""

import csv
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.padding import padded
from sparsemod.data.places import data_root
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput

_SPLITS = {"train": "", "validation": "val_", "test": "test_"}
_WIDTHS: dict[int, str] = {1: "u1", 2: "<i2", 4: "<i4"}


@dataset("folder")
def folder(root: Path | None, path: str, delimiter: str = ",", classes: str = "") -> Arrays:
    """Your own sequences: one file each, in the folder `path` (absolute, or relative to `root`) with one subfolder per class.

    The files are `.csv` (a line for each step, a column for each feature; a first line of names is skipped; layout
    "time-features") or `.wav` (8, 16 or 32 bits, all of one rate; layout "channels-length", values in [-1, 1]).
    Classes are the subfolders in alphabetical order. If the subfolders are named train, test and, optionally,
    validation, each of them holds the folders of the classes, and these are the dataset's own splits. So are the files
    that `testing_list.txt` and `validation_list.txt` name, as in Speech Commands. Folders whose names begin with `_` or `.`
    are no classes. Sequences of different lengths are padded, and the network or the splitter gets their lengths.
    `delimiter`: of CSV files. `classes`: read only these folders, as names with commas between them; default: all.
    Raises DataMissing, InvalidInput.
    """
    if not isinstance(classes, str):
        raise InvalidInput("dataset.options.classes", classes, "text")
    for name, value in (("path", path), ("delimiter", delimiter)):
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"dataset.options.{name}", value, "text")
    place = Path(path).expanduser()
    place = place if place.is_absolute() else data_root(root) / place
    if not place.is_dir():
        raise DataMissing(
            "folder",
            [place.name],
            str(place.parent),
            "dataset.options.path names the folder, relative to dataset.root or $SPARSEMOD_DATA",
        )
    inside = _folders(place)
    parts = (
        {name: place / name for name in _SPLITS if name in inside} if "train" in inside else {"train": place}
    )
    strange = sorted(set(inside) - set(_SPLITS)) if "train" in inside else []
    if strange:
        raise InvalidInput(str(place), strange, "beside train only the folders validation and test")
    names = _chosen(parts["train"], classes)
    for part in parts.values():
        found = _folders(part)
        if not set(names) <= set(found) or (not classes and found != names):
            raise InvalidInput(str(part), found, f"the folders of the classes: {', '.join(names)}")
    listed = {} if "train" in inside else _listed(place)
    if listed:
        parts = dict.fromkeys(_SPLITS, place)
    read = {name: _read(part, names, delimiter, listed, name) for name, part in parts.items()}
    suffix = {kind for _, _, kind in read.values()}
    if len(suffix) > 1:
        raise InvalidInput(str(place), sorted(suffix), "either .csv or .wav files")
    axis = 0 if suffix == {".csv"} else 1
    own: dict[str, Any] = {}
    longest = max(one.shape[axis] for sequences, _, _ in read.values() for one in sequences)
    for name, (sequences, labels, _) in read.items():
        x, lengths = padded(sequences, axis, str(parts[name]))
        missing = longest - x.shape[1 + axis]
        widths = [(0, missing if at == 1 + axis else 0) for at in range(x.ndim)]
        own |= {
            f"{_SPLITS[name]}x": np.pad(x, widths),
            f"{_SPLITS[name]}y": labels,
            f"{_SPLITS[name]}lengths": lengths,
        }
    if all((own[key] == longest).all() for key in own if key.endswith("lengths")):
        own = {key: value for key, value in own.items() if not key.endswith("lengths")}
    layout = "time-features" if axis == 0 else "channels-length"
    return Arrays(**own, classes=len(names), names=tuple(names), layout=layout)


def _chosen(place: Path, wanted: str) -> list[str]:
    """Return the folders of the classes, those in `wanted` if it names any."""
    found = _folders(place)
    if len(found) < 2:
        raise InvalidInput(str(place), found, "at least two folders, one for each class")
    chosen = sorted({name.strip() for name in wanted.split(",") if name.strip()}) or found
    if len(chosen) < 2 or not set(chosen) <= set(found):
        raise InvalidInput("dataset.options.classes", wanted, f"at least two of {', '.join(found)}")
    return chosen


_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


def _listed(place: Path) -> dict[str, str]:
    """Return class/file -> the split that a list names it in; {} without lists. Raises InvalidInput for one of two lists."""
    lists = {split: place / name for split, name in _LISTS.items() if (place / name).is_file()}
    if len(lists) == 1:
        (only,) = lists.values()
        raise InvalidInput(str(place), only.name, f"both {' and '.join(_LISTS.values())}, or neither")
    lines = {split: file.read_text(encoding="utf-8").split("\n") for split, file in lists.items()}
    return {line.strip(): split for split, found in lines.items() for line in found if line.strip()}


def _folders(place: Path) -> list[str]:
    return sorted(one.name for one in place.iterdir() if one.is_dir() and not one.name.startswith((".", "_")))


def _read(
    place: Path, classes: list[str], delimiter: str, listed: dict[str, str], split: str
) -> tuple[list[NDArray[Any]], NDArray[np.int64], str]:
    """Return the sequences of a split, their labels (N,), and the suffix of the files."""
    sequences: list[NDArray[Any]] = []
    labels: list[int] = []
    kinds: set[str] = set()
    rates: dict[int, Path] = {}
    for label, name in enumerate(classes):
        files = sorted(
            one
            for one in (place / name).iterdir()
            if one.suffix.lower() in (".csv", ".wav")
            and listed.get(f"{name}/{one.name}", "train") == (split if listed else "train")
            and one.is_file()
        )
        if not files:
            raise InvalidInput(str(place / name), 0, "at least one .csv or .wav file")
        for file in files:
            kinds.add(file.suffix.lower())
            if len(kinds) > 1:
                raise InvalidInput(str(file), file.suffix, "either .csv or .wav files, as those before it")
            sequences.append(
                _table(file, delimiter) if file.suffix.lower() == ".csv" else _sound(file, rates)
            )
            labels.append(label)
    return sequences, np.array(labels, np.int64), kinds.pop()


def _table(file: Path, delimiter: str) -> NDArray[np.float32]:
    """Return the numbers of a CSV file (steps, features)."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as content:
            rows = [row for row in csv.reader(content, delimiter=delimiter, strict=True) if row]
    except (csv.Error, UnicodeDecodeError, OSError, TypeError) as error:
        raise InvalidInput(str(file), str(error), "a CSV file in UTF-8") from error
    numbers = [_numbers(row) for row in rows]
    first = 1 if numbers and numbers[0] is None else 0
    for line, values in enumerate(numbers[first:], first + 1):
        if values is None or len(values) != len(rows[first]):
            raise InvalidInput(
                "line", delimiter.join(rows[line - 1]), f"{len(rows[first])} numbers", f"{file}:{line}"
            )
    if not numbers[first:]:
        raise InvalidInput(str(file), len(rows), "at least one line of numbers")
    return np.array(numbers[first:], np.float32)


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None


def _sound(file: Path, rates: dict[int, Path]) -> NDArray[np.float32]:
    """Return the samples of a WAV file (channels, length) in [-1, 1]."""
    try:
        with wave.open(str(file), "rb") as sound:
            width, channels, rate = sound.getsampwidth(), sound.getnchannels(), sound.getframerate()
            content = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise InvalidInput(str(file), str(error), "a WAV file of whole numbers") from error
    rates.setdefault(rate, file)
    if len(rates) > 1:
        known = ", ".join(f"{value} Hz in {one.name}" for value, one in rates.items())
        raise InvalidInput(str(file), rate, f"one rate in all files: {known}")
    if width not in _WIDTHS:
        raise InvalidInput(str(file), f"{8 * width} bits", "8, 16 or 32 bits")
    values = np.frombuffer(content, _WIDTHS[width]).reshape(-1, channels).T.astype(np.float32)
    return values / 128.0 - 1.0 if width == 1 else values / 2.0 ** (8 * width - 1)
