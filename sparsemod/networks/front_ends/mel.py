"""Logarithmic mel spectra."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.networks.front_ends.base import FRONT_ENDS, Bands, FrontEnd, Hops, Rate, Windows, choice
from sparsemod.records import Value
from sparsemod.space.parameters import Parameter
from sparsemod.spec.methods import FrontEndConfig

if TYPE_CHECKING:
    from torch import nn


class MelConfig(FrontEndConfig):
    """Keys of mel. The lists are choices of the search; one number is fixed."""

    rate: Rate = Field(16000.0, description="Samples per second.")
    window: Windows = Field((512,), description="Samples of a frame; the FFT has the next power of two.")
    hop: Hops = Field((320,), description="Samples from one frame to the next.")
    bands: Bands = Field((40,), description="Mel bands, the features of a frame.")
    low: float = Field(20.0, ge=0, description="Lowest frequency, in Hz.")
    high: float | None = Field(None, gt=0, description="Highest frequency, in Hz; default: half of the rate.")
    floor: float = Field(1e-6, gt=0, description="The energy of a band whose feature is 0.")


@FRONT_ENDS.register("mel")
class Mel(FrontEnd[MelConfig]):
    """Logarithms of the energies in mel bands: the features of sound for convolutions."""

    Config = MelConfig

    def parameters(self) -> list[Parameter]:
        """Return `front_window`, `front_hop`, `front_bands`."""
        lists = {"window": self.config.window, "hop": self.config.hop, "bands": self.config.bands}
        return [choice(name, values) for name, values in lists.items()]

    def features(self, values: Mapping[str, Value]) -> int:
        """See FrontEnd."""
        return int(values["front_bands"])

    def modules(self, values: Mapping[str, Value]) -> "list[nn.Module]":
        """See FrontEnd."""
        from sparsemod.signals.modules import BandEnergies

        c, bands = self.config, int(values["front_bands"])
        window, hop = int(values["front_window"]), int(values["front_hop"])
        return [BandEnergies(window, hop, c.rate, bands, c.low, c.high, True, 0, c.floor)]
