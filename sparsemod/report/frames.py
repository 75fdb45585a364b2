"""Tables of trials as pandas frames."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsemod.report.columns import INDEX, columns_of, units
from sparsemod.report.rows import Row


def frame(rows: Sequence[Row], columns_from: Sequence[Row] | None = None) -> pd.DataFrame:
    """One line for each trial, with the columns of its CSV file; the index is the trial's index.

    `attrs["units"]` maps a column to its unit. What a trial does not have is missing (NaN or NA). `columns_from`: the trials that decide
    which metrics and parameters are columns, where these are not `rows` themselves.
    """
    source = rows if columns_from is None else columns_from
    found = [column for column in columns_of(source) if column != INDEX]
    index = pd.Index([INDEX.value(row) for row in rows], dtype=INDEX.dtype, name=INDEX.name)
    data = {
        column.name: _series([column.value(row) for row in rows], column.dtype, index) for column in found
    }
    made = pd.DataFrame(data, index=index)
    made.attrs["units"] = units(found)
    return made


def _series(values: list[Any], dtype: str, index: "pd.Index[int]") -> "pd.Series[Any]":
    """A column. Without a `dtype`: whole numbers and truth values keep their kind where one is missing."""
    if not dtype:
        kinds = {type(value) for value in values if value is not None}
        if kinds == {bool}:
            dtype = "boolean"
        elif kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
            dtype = "Int64"
        elif kinds and kinds <= {int, float}:
            dtype = "float64"
    # Text is inferred: its type depends on the version of pandas.
    return pd.Series(values, index=index, dtype=dtype) if dtype else pd.Series(values or None, index=index)
