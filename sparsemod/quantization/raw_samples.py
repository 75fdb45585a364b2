"""From raw samples, as a dataset or a sensor holds them, to what a network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape, layout


@dataclass(frozen=True)
class InputNormalization:
    """normalized = (raw - offset) / scale. One value per channel, or per feature of vectors; `method` says how they were found; `layout` names
    the axes of samples where it is not the default one of their shape.

    Raises InvalidInput for numbers that are not finite, a scale that is not positive, or different numbers of both.
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
        """Raw samples (N, *shape) as normalized ones. Raw values are float32 numbers, computed in float64, as in the generated C."""
        values = np.asarray(raw, np.float32).astype(np.float64)
        offset, scale = (
            self._aligned(constants, values.shape[1:]) for constants in (self.offset, self.scale)
        )
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            return np.asarray((values - offset) / scale, np.float32)

    def undo(self, normalized: Any) -> NDArray[np.float32]:
        """The raw samples (N, *shape) of normalized ones, to the accuracy of float32."""
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
        """As plain values."""
        stated = {} if self.layout is None else {"layout": self.layout}
        return {"method": self.method, "offset": list(self.offset), "scale": list(self.scale), **stated}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputNormalization":
        """What `to_dict` gave. Raises InvalidInput, KeyError, TypeError, ValueError for anything else."""
        offset, scale = (tuple(float(value) for value in values[key]) for key in ("offset", "scale"))
        return cls(str(values["method"]), offset, scale, values.get("layout"))
