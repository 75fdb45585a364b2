"""A user's table from a CSV file: one row per sample, one column per feature, and one label column."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays
from sparsemod.data.places import data_root
from sparsemod.data.source import dataset
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.spec.methods import Targets

_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
_TEXT = {"path", "label", "group", "split", "ignore", "delimiter", "shape"}


@dataset("csv")
def csv_file(
    root: Path | None,
    path: str,
    label: str = "label",
    group: str = "",
    split: str = "",
    ignore: str = "",
    delimiter: str = ",",
    shape: str = "",
    targets: Targets = "classes",
) -> Arrays:
    """Your own table: the CSV file `path` (absolute, or relative to `root`).

    It is UTF-8 and its first line holds the column names.

    `label` names the column of the classes, numbers or text. For other tasks it lists the columns of the values, or of
    the labels (0 or 1), separated by commas, or names the column of 0 (normal) and 1 (anomalous); the spec's task
    chooses `targets`. `group` names a column of groups, such as
    subjects; a group stays in one split. `split` names a column with train, validation or test for each row,
    the dataset's own splits. `ignore` lists columns to skip, separated by commas. All other columns are
    features with a finite number in each row. `delimiter` is one character, or `tab`. `shape`, such as
    "1, 28, 28" (channels, rows, columns), reshapes the features to images, in the order of the columns.
    Raises DataMissing, InvalidInput.
    """
    options = {
        "path": path, "label": label, "group": group, "split": split,
        "ignore": ignore, "delimiter": delimiter, "shape": shape,
    }  # fmt: skip
    for name, value in options.items():
        if not isinstance(value, str) or (not value and name in ("path", "label", "delimiter")):
            raise InvalidInput(
                f"dataset.options.{name}",
                value,
                "text" + ("" if name != "path" else ": the name of a .csv file"),
            )
    separator = "\t" if delimiter == "tab" else delimiter
    if len(separator) != 1 or separator in '"\r\n':
        raise InvalidInput("dataset.options.delimiter", delimiter, "one character, or tab")
    place = Path(path).expanduser()
    place = place if place.is_absolute() else data_root(root) / place
    if not place.is_file():
        raise DataMissing(
            "csv",
            [place.name],
            str(place.parent),
            "dataset.options.path names the file, relative to dataset.root or $SPARSEMOD_DATA",
        )
    table = _Table(place, separator)
    ignored = [name.strip() for name in ignore.split(",") if name.strip()]
    for option, names in (
        ("label", _split(label, targets)),
        ("group", [group]),
        ("split", [split]),
        ("ignore", ignored),
    ):
        for name in names:
            if name and name not in table.names:
                known = ", ".join(table.names)
                raise InvalidInput(f"dataset.options.{option}", name, f"a column of {place.name}: {known}")
    try:
        return _arrays(
            table, label, group, split, {*_split(label, targets), group, split, *ignored}, shape, targets
        )
    except InvalidInput as error:
        names_source = error.source is not None or error.field.startswith("dataset.")
        raise error if names_source else error.at(source=str(place)) from None


class _Table:
    """The file's cells as text.

    Raises InvalidInput, with the line, for a row whose length differs from the header's.
    """

    def __init__(self, place: Path, separator: str) -> None:
        self.rows: list[list[str]] = []
        self.lines: list[int] = []
        try:
            with place.open(encoding="utf-8-sig", newline="") as content:
                reader = csv.reader(content, delimiter=separator, strict=True)
                self.names = [name.strip() for name in next(reader, [])]
                for row in reader:
                    if not row:
                        continue  # empty line
                    if len(row) != len(self.names):
                        raise InvalidInput(
                            "row",
                            separator.join(row),
                            f"{len(self.names)} cells, as in the first line",
                            f"{place}:{reader.line_num}",
                        )
                    self.rows.append(row)
                    self.lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise InvalidInput(str(place), str(error), "a CSV file in UTF-8") from error
        self.place = place
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if not self.names or repeated or "" in self.names:
            raise InvalidInput(
                "first line", repeated or self.names, "a different name for each column", f"{place}:1"
            )
        if not self.rows:
            raise InvalidInput("rows", 0, "at least one row after the first line", str(place))

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, without surrounding spaces."""
        at = self.names.index(name)
        return [row[at].strip() for row in self.rows]

    def numbers(self, names: list[str]) -> NDArray[np.float64]:
        """Return these columns as numbers (rows, columns).

        Raises InvalidInput, with line and column, for a cell that is not a number.
        """
        out = np.empty((len(self.rows), len(names)))
        for place, name in enumerate(names):
            cells = self.column(name)
            try:
                out[:, place] = np.array(cells, dtype=np.float64)
            except ValueError:
                for line, cell in zip(self.lines, cells, strict=True):
                    if not _is_number(cell):
                        allowed = "a number in every row; dataset.options.ignore leaves a column out"
                        raise InvalidInput(
                            f"column {name!r}", cell, allowed, f"{self.place}:{line}"
                        ) from None
                raise
        return out


def _is_number(cell: str) -> bool:
    try:
        np.array([cell], dtype=np.float64)
    except ValueError:
        return False
    return True


def _split(label: str, targets: Targets) -> list[str]:
    """Return the columns of the targets."""
    several = targets in ("values", "labels")
    return [name.strip() for name in label.split(",") if name.strip()] if several else [label]


def _targets(table: _Table, label: str, targets: Targets) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    if targets == "pixels":
        raise InvalidInput("task", "per-pixel", "a dataset of images; a table has no class for each position")
    if targets == "classes":
        return _classes(table.column(label), label)
    columns = _split(label, targets)
    y = table.numbers(columns)
    if targets == "normal":
        return y[:, 0].astype(np.int64), None
    return (y if targets == "values" else y.astype(np.int64)), tuple(columns)


def _arrays(
    table: _Table, label: str, group: str, split: str, named: set[str], shape: str, targets: Targets
) -> Arrays:
    features = [name for name in table.names if name not in named]
    if not features:
        raise InvalidInput("columns", table.names, f"features beside {', '.join(sorted(named - {''}))}")
    x = _shaped(table.numbers(features), shape)
    y, names = _targets(table, label, targets)
    classes = len(names) if names is not None and targets == "classes" else None
    groups = np.array(table.column(group)) if group else None
    if not split:
        return Arrays(x, y, classes=classes, names=names, groups=groups, targets=targets)
    parts = table.column(split)
    for line, part in zip(table.lines, parts, strict=True):
        if part not in _SPLITS:
            raise InvalidInput(
                f"column {split!r}", part, "train, validation or test", f"{table.place}:{line}"
            )
    of = np.array([_SPLITS[part] for part in parts])
    train = of == "train"
    if not train.any():
        raise InvalidInput(f"column {split!r}", sorted(set(parts)), "rows of split train")
    own: dict[str, Any] = {}
    for part in ("val", "test"):
        if (of == part).any():
            own |= {f"{part}_x": x[of == part], f"{part}_y": y[of == part]}
    groups = None if groups is None else groups[train]
    return Arrays(x[train], y[train], classes=classes, names=names, groups=groups, targets=targets, **own)


def _shaped(x: NDArray[np.float64], shape: str) -> NDArray[Any]:
    if not shape:
        return x
    parts = [part.strip() for part in shape.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InvalidInput("dataset.options.shape", shape, "channels, rows, columns, such as 1, 28, 28")
    channels, rows, columns = (int(part) for part in parts)
    if channels * rows * columns != x.shape[1]:
        allowed = f"three numbers whose product is {x.shape[1]}, the number of feature columns"
        raise InvalidInput("dataset.options.shape", shape, allowed)
    return x.reshape(len(x), channels, rows, columns)


def _classes(cells: list[str], label: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels from 0 and class names.

    Names are in numeric order if all are numbers, else in alphabetical order.
    """
    known = sorted(set(cells), key=_order if all(map(_is_number, cells)) else str)
    if "" in known:
        raise InvalidInput(f"column {label!r}", "", "a class in every row")
    if len(known) > max(2, len(cells) // 2):
        raise InvalidInput(
            f"column {label!r}",
            f"{len(known)} different values",
            f"classes, far fewer than the {len(cells)} rows",
        )
    place = {name: index for index, name in enumerate(known)}
    return np.array([place[cell] for cell in cells], dtype=np.int64), tuple(known)


def _order(cell: str) -> tuple[float, str]:
    return float(cell), cell
