"""The Pareto front as a data frame whose rows are also trials."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsemod.interactive.trial import Trial


def _same(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` unchanged; a pickled front is loaded with this function."""
    return frame


class Front(pd.DataFrame):
    """The Pareto front as a frame, sorted by the first objective, with the index of `Results.trials`.

    `front[0]` is the first row as a Trial, `front[-1]` the last: as in slices of a frame, whole numbers
    count rows. `points` holds all trials. A column is `front["error"]`, the row of trial 17
    `front.loc[17]`. Frames that pandas derives from a front (a copy, a slice, a selection, a loaded pickle)
    are plain DataFrames.
    """

    # Names that pandas treats as attributes, not as columns.
    _internal_names = [*pd.DataFrame._internal_names, "points"]  # type: ignore[attr-defined]  # noqa: RUF012
    _internal_names_set = set(_internal_names)  # noqa: RUF012

    points: tuple[Trial, ...]

    @classmethod
    def of(cls, points: Sequence[Trial], trials: pd.DataFrame) -> "Front":
        """Return the front of these points, with their rows of the frame of all trials."""
        rows = trials.loc[[point.index for point in points]]
        front = cls(rows)
        front.attrs = rows.attrs
        front.points = tuple(points)
        return front

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _same, (self.copy(),)

    def __getitem__(self, key: Any) -> Any:
        """Return a Trial for a whole number, else the value that a DataFrame returns.

        Raises IndexError beyond the rows, KeyError for an unknown column.
        """
        if isinstance(key, int) and not isinstance(key, bool):
            try:
                return self.points[key]
            except IndexError:
                raise IndexError(f"row {key} of a front of {len(self.points)} trials") from None
        return super().__getitem__(key)
