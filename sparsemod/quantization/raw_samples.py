"""Normalization of raw samples from a dataset or a sensor to the inputs that a network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape, layout


@dataclass(frozen=True)
class InputNormalization:
    """normalized = (raw - offset) / scale, with one offset and scale per channel, or per feature of vectors.

    `method` states how the constants were computed; `layout` names the axes of samples when it is not the default layout of their
    shape.

    Raises InvalidInput for constants that are not finite, a scale that is not positive, or different numbers of offsets and scales.
    """

    method: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    layout: str | None = None

    def __post_init__(self) -> None:
        if not self.offset or len(self.offset) != len(self.scale):
            raise InvalidInput(
                "normalization",
                (len(self.offset), len(self.scale)),
                "as many offsets as scales, at least one",
            )
        if not np.all(np.isfinite(self.offset)):
            raise InvalidInput("normalization.offset", self.offset, "finite numbers")
        if not np.all(np.isfinite(self.scale)) or min(self.scale) <= 0:
            raise InvalidInput("normalization.scale", self.scale, "positive numbers")

    def apply(self, raw: Any) -> NDArray[np.float32]:
        """Normalize raw samples (N, *shape). Raw values are float32 numbers; the computation is float64, as in the generated C."""
        values = np.asarray(raw, np.float32).astype(np.float64)
        offset, scale = (
            self._aligned(constants, values.shape[1:]) for constants in (self.offset, self.scale)
        )
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            return np.asarray((values - offset) / scale, np.float32)

    def undo(self, normalized: Any) -> NDArray[np.float32]:
        """Return the raw samples (N, *shape) of normalized samples, to the accuracy of float32."""
        values = np.asarray(normalized, np.float64)
        offset, scale = (
            self._aligned(constants, values.shape[1:]) for constants in (self.offset, self.scale)
        )
        with np.errstate(over="ignore"):
            return np.asarray(values * scale + offset, np.float32)

    def _aligned(self, constants: tuple[float, ...], shape: Shape) -> NDArray[np.float64]:
        axes = [1] * len(shape)
        axes[layout(self.layout, shape).channel] = -1
        return np.asarray(constants, np.float64).reshape(axes)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        layout = {} if self.layout is None else {"layout": self.layout}
        return {"method": self.method, "offset": list(self.offset), "scale": list(self.scale), **layout}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputNormalization":
        """Create an object from the result of `to_dict`. Raises InvalidInput, KeyError, TypeError or ValueError for other values."""
        offset, scale = (tuple(float(value) for value in values[key]) for key in ("offset", "scale"))
        return cls(str(values["method"]), offset, scale, values.get("layout"))
