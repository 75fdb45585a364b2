"""What the outputs of a deployed network mean: the same arithmetic in Python and in C, in float32 or in integers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sparsemod.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = ("classes", "labels", "values", "normal", "pixels")


@dataclass(frozen=True)
class Decoding:
    """What the outputs mean.

    `targets`: `classes`, the largest output is the class; `labels`, outputs above 0 are labels that hold; `values`,
    value = output * scale + offset; `normal`, the outputs reproduce the normalized input, and the mean squared
    difference is the score; `pixels`, at each position the channel with the largest output is the class.
    `scale`, `offset`: of each output, for `values`. `threshold`: scores above it are anomalies, for `normal`.

    Raises InvalidInput.
    """

    targets: str
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.targets not in _KINDS:
            raise InvalidInput("decoding.targets", self.targets, f"one of {', '.join(_KINDS)}")
        if len(self.scale) != len(self.offset) or not all(map(math.isfinite, (*self.scale, *self.offset))):
            raise InvalidInput("decoding.scale", self.scale, "a finite scale and offset for each output")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` reads."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Decoding":
        """Return the decoding whose `to_dict` returned `data`. Raises InvalidInput."""
        return cls(
            str(data["targets"]), tuple(map(float, data["scale"])), tuple(map(float, data["offset"])), data["threshold"]
        )  # fmt: skip

    def values(self, real: "NDArray[Any]") -> "NDArray[Any]":
        """Return values (N, K) from real outputs (N, K), each step rounded to float32 as in C."""
        import numpy as np

        scale, offset = (np.asarray(part, np.float32) for part in (self.scale, self.offset))
        return np.asarray(real.astype(np.float32) * scale + offset, np.float32)
