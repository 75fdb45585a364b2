"""Tables of trials as pandas frames."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsemod.records import TrialRecord
from sparsemod.report.columns import INDEX, columns_of, units


def frame(rows: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row for each trial, with the columns of its CSV file; the index is the trial's index.

    `attrs["units"]` maps a column to its unit. Missing values are NaN or NA.
    """
    found = [column for column in columns_of(rows) if column != INDEX]
    index = pd.Index([INDEX.value(row) for row in rows], dtype=INDEX.dtype, name=INDEX.name)
    data = {
        column.name: _series([column.value(row) for row in rows], column.dtype, index) for column in found
    }
    made = pd.DataFrame(data, index=index)
    made.attrs["units"] = units(found)
    return made


# The text type of pandas 3, used with pandas 2 too: missing text is NaN.
_TEXT = pd.StringDtype(na_value=float("nan"))


def _series(values: list[Any], dtype: str, index: "pd.Index[int]") -> "pd.Series[Any]":
    """Return a column. Without a `dtype`, integers and booleans keep their type when a value is missing."""
    kinds = {type(value) for value in values if value is not None}
    chosen: Any = dtype or object
    if dtype == "text" or (not dtype and kinds == {str}):
        chosen = _TEXT
    elif not dtype and kinds == {bool}:
        chosen = "boolean"
    elif not dtype and kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        chosen = "Int64"
    elif not dtype and kinds and kinds <= {int, float}:
        chosen = "float64"
    made: pd.Series[Any] = pd.Series(values, index=index, dtype=chosen)
    return made
