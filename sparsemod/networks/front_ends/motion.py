"""Features of motion: statistics of windows, and energies of frequency bands."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparsemod.networks.front_ends.base import FRONT_ENDS, FrontEnd, Hops, Rate, Windows, choice
from sparsemod.records import Value
from sparsemod.signals import tables
from sparsemod.space.parameters import Parameter
from sparsemod.spec.methods import FrontEndConfig

if TYPE_CHECKING:
    from torch import nn


class MotionConfig(FrontEndConfig):
    """Keys of motion. The lists are choices of the search; one number is fixed."""

    rate: Rate = Field(100.0, description="Samples per second.")
    window: Windows = Field((64,), description="Samples of a frame.")
    hop: Hops = Field((32,), description="Samples from one frame to the next.")
    bands: tuple[Annotated[int, Field(ge=0, le=128)], ...] = Field(
        (4,), description="Frequency bands of equal width beside the statistics; 0: the statistics alone."
    )
    low: float = Field(0.5, ge=0, description="Lowest frequency of the bands, in Hz.")
    high: float | None = Field(None, gt=0, description="Highest frequency, in Hz; default: half of the rate.")
    floor: float = Field(1e-6, gt=0, description="The energy of a band whose feature is 0.")


@FRONT_ENDS.register("motion")
class Motion(FrontEnd[MotionConfig]):
    """Mean, standard deviation, extremes and crossings of the mean of each axis, and logarithms of its energies in bands."""

    Config = MotionConfig

    def parameters(self) -> list[Parameter]:
        """Return `front_window`, `front_hop`, `front_bands`."""
        lists = {"window": self.config.window, "hop": self.config.hop, "bands": self.config.bands}
        return [choice(name, values) for name, values in lists.items()]

    def features(self, values: Mapping[str, Value]) -> int:
        """See FrontEnd."""
        return len(tables.STATISTICS) + int(values["front_bands"])

    def modules(self, values: Mapping[str, Value]) -> "list[nn.Module]":
        """See FrontEnd."""
        from sparsemod.signals.modules import BandEnergies, WindowStatistics

        c, bands = self.config, int(values["front_bands"])
        window, hop = int(values["front_window"]), int(values["front_hop"])
        made: list[nn.Module] = [WindowStatistics(window, hop)]
        return (
            [*made, BandEnergies(window, hop, c.rate, bands, c.low, c.high, False, 0, c.floor)]
            if bands
            else made
        )
