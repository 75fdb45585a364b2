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
    table_columns = [column for column in columns_of(rows) if column != INDEX]
    index = pd.Index([INDEX.value(row) for row in rows], dtype=INDEX.dtype, name=INDEX.name)
    data = {
        column.name: _series([column.value(row) for row in rows], column.dtype, index)
        for column in table_columns
    }
    table = pd.DataFrame(data, index=index)
    table.attrs["units"] = units(table_columns)
    return table


# The text type of pandas 3, used with pandas 2 too: missing text is NaN.
_TEXT = pd.StringDtype(na_value=float("nan"))


def _series(values: list[Any], dtype: str, index: "pd.Index[int]") -> "pd.Series[Any]":
    """Return a column. Without a `dtype`, integers and booleans keep their type when a value is missing."""
    kinds = {type(value) for value in values if value is not None}
    series_type: Any = dtype or object
    if dtype == "text" or (not dtype and kinds == {str}):
        series_type = _TEXT
    elif not dtype and kinds == {bool}:
        series_type = "boolean"
    elif not dtype and kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        series_type = "Int64"
    elif not dtype and kinds and kinds <= {int, float}:
        series_type = "float64"
    series: pd.Series[Any] = pd.Series(values, index=index, dtype=series_type)
    return series
