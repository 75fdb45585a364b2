"""The shares of weights at which a study prunes."""

import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Spacing(BaseModel):
    """Falling shares of the weights that stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    type: Literal["geometric", "linear", "harmonic", "harmonic2", "cubic", "manual"] = Field(
        "geometric",
        description="`geometric`: equal factors from `max` to `min`. `linear`: equal steps. `cubic`: steps that shrink "
        "like a cubic. `harmonic`: a power of 1, 2, 3, ... that needs `intervals` steps to 0.5 and ends at `min`. "
        "`harmonic2`: the same from `max` to `min` in `intervals` steps. `manual`: the listed `values`.",
    )
    intervals: int = Field(5, ge=1, le=1000, description="Number of shares.")
    max: float = Field(0.8, gt=0, le=1, description="The largest share of the weights that stays.")
    min: float = Field(0.1, gt=0, le=1, description="The smallest share.")
    values: tuple[float, ...] = Field((), description="The shares of `manual`, each above 0 and at most 1.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type == "manual":
            if not self.values or not all(0 < value <= 1 for value in self.values):
                raise ValueError("manual needs values, each above 0 and at most 1")
        elif self.values:
            raise ValueError(f"values belong to manual, not to {self.type}")
        elif self.min > self.max:
            raise ValueError("min must be at most max")
        return self

    def ratios(self) -> tuple[float, ...]:
        """Return the shares of the weights that stay, in order."""
        high, low, count = self.max, self.min, self.intervals
        if self.type == "manual":
            return self.values
        if self.type == "harmonic":
            power = math.log(2) / math.log(1 + count)
            steps = max(1, int(low ** (-1 / power)))
            return tuple((step + 1) ** -power for step in range(1, steps + 1))
        if count == 1:
            return (high,)
        found: NDArray[np.floating[Any]]
        if self.type == "geometric":
            found = np.geomspace(high, low, count)
        elif self.type == "linear":
            found = np.linspace(high, low, count)
        elif self.type == "cubic":
            found = low + (high - low) * (1 - np.arange(count) / (count - 1)) ** 3
        else:
            found = high * np.arange(1, count + 1) ** -(math.log(high / low) / math.log(count))
        return tuple(float(ratio) for ratio in found)
