"""SVD by energy (low rank): every layer keeps the same share of its singular values' sum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig
from sparsemod.pruning.low_rank.svd import Scheme, SvdMethod

if TYPE_CHECKING:
    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Source


class SvdEnergyConfig(LowRankConfig):
    """Keys of svd_energy."""

    norm: Literal["nuclear", "frobenius"] = Field(
        "frobenius",
        description="The energy: the singular values (nuclear norm) or their squares (Frobenius norm).",
    )
    scheme: Scheme = Field(0, description="The two layers of a convolution, as for svd.")


@METHODS.register("svd_energy")
class SvdEnergy(SvdMethod[SvdEnergyConfig]):
    """Cuts every layer's matrix to the rank that keeps the same share of its energy.

    Source: Wen et al., "Coordinating filters for faster deep neural networks", 2017 (Frobenius); Xu et al.,
    "TRP: trained rank pruning for efficient deep neural networks", 2018 (nuclear).
    """

    Config = SvdEnergyConfig

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import by_energy

        return by_energy(source, (self.config.scheme,), 1 if self.config.norm == "nuclear" else 2)
