"""Mel-frequency cepstral coefficients."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.errors import InvalidInput
from sparsemod.networks.front_ends.base import FRONT_ENDS, Bands, FrontEnd, Hops, Rate, Windows, choice
from sparsemod.records import Value
from sparsemod.space.parameters import Parameter
from sparsemod.spec.methods import FrontEndConfig

if TYPE_CHECKING:
    from torch import nn


class MfccConfig(FrontEndConfig):
    """Keys of mfcc. The lists are choices of the search; one number is fixed."""

    rate: Rate = Field(16000.0, description="Samples per second.")
    window: Windows = Field((512,), description="Samples of a frame; the FFT has the next power of two.")
    hop: Hops = Field((320,), description="Samples from one frame to the next.")
    bands: Bands = Field((40,), description="Mel bands of the spectrum.")
    coefficients: Bands = Field((13,), description="Features of a frame, at most the bands.")
    low: float = Field(20.0, ge=0, description="Lowest frequency, in Hz.")
    high: float | None = Field(None, gt=0, description="Highest frequency, in Hz; default: half of the rate.")
    floor: float = Field(1e-6, gt=0, description="The energy of a band whose feature is 0.")


@FRONT_ENDS.register("mfcc")
class Mfcc(FrontEnd[MfccConfig]):
    """Mel-frequency cepstral coefficients: the DCT of the logarithms of mel band energies."""

    Config = MfccConfig

    def parameters(self) -> list[Parameter]:
        """Return `front_window`, `front_hop`, `front_bands`, `front_coefficients`."""
        c = self.config
        if max(c.coefficients, default=0) > min(c.bands, default=128):
            allowed = f"at most {min(c.bands)}, the smallest number of bands"
            raise InvalidInput("network.front_end.coefficients", list(c.coefficients), allowed)
        lists = {"window": c.window, "hop": c.hop, "bands": c.bands, "coefficients": c.coefficients}
        return [choice(name, values) for name, values in lists.items()]

    def features(self, values: Mapping[str, Value]) -> int:
        """See FrontEnd."""
        return int(values["front_coefficients"])

    def modules(self, values: Mapping[str, Value]) -> "list[nn.Module]":
        """See FrontEnd."""
        from sparsemod.signals.modules import BandEnergies

        c = self.config
        return [
            BandEnergies(
                int(values["front_window"]), int(values["front_hop"]), c.rate, int(values["front_bands"]), c.low, c.high, True,
                int(values["front_coefficients"]), c.floor,
            )
        ]  # fmt: skip
