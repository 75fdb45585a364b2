"""Scales on which objectives are compared. numpy is imported on first use."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sparsemod.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Kind = Literal["linear", "log"]

_SMALLEST = 1e-300
"""Smallest argument of a logarithm, so that a value of 0 has a finite place on every scale."""


@dataclass(frozen=True)
class Scale:
    """The scale of an objective: `low` is at 0, `high` (the reference value) at 1.

    `kind`: "linear", or "log" for the logarithm of value + `offset`. All three values have the metric's unit.
    Raises InvalidInput unless 0 <= low < high, 0 <= offset, and, for "log", low + offset > 0.
    """

    kind: Kind
    low: float
    high: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "log"):
            raise InvalidInput("scale.kind", self.kind, "linear or log")
        if not 0.0 <= self.low < self.high < float("inf"):
            raise InvalidInput("scale.low", self.low, f"at least 0 and below the reference, {self.high:g}")
        if not 0.0 <= self.offset < float("inf") or (self.kind == "linear" and self.offset):
            raise InvalidInput("scale.offset", self.offset, "at least 0 on a log scale, 0 on a linear one")
        if self.kind == "log" and not self.low + self.offset > 0.0:
            raise InvalidInput("scale.low", self.low, "above 0 on a log scale without an offset")

    def unit(self, values: "ArrayLike") -> "Floats":
        """Return the places of `values` on the scale, same shape: below 0 beneath `low`, above 1 beyond `high`."""
        start, end = self._inner(self.low), self._inner(self.high)
        result: Floats = (self._inner(values) - start) / (end - start)
        return result

    def value(self, units: "ArrayLike") -> "Floats":
        """Return the inverse of `unit`."""
        start, end = self._inner(self.low), self._inner(self.high)
        import numpy as np

        inner = start + np.asarray(units, dtype=np.float64) * (end - start)
        result: Floats = np.exp(inner) - self.offset if self.kind == "log" else inner
        return result

    def _inner(self, values: "ArrayLike") -> "Floats":
        import numpy as np

        array = np.asarray(values, dtype=np.float64)
        return np.log(np.maximum(array + self.offset, _SMALLEST)) if self.kind == "log" else array
