"""SVD by error (low rank): every layer gets the same relative error."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig
from sparsemod.pruning.low_rank.svd import Scheme, SvdMethod

if TYPE_CHECKING:
    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Source


class SvdErrorConfig(LowRankConfig):
    """Keys of svd_error."""

    scheme: Scheme = Field(0, description="The two layers of a convolution, as for svd.")


@METHODS.register("svd_error")
class SvdError(SvdMethod[SvdErrorConfig]):
    """Cuts every layer's matrix to the least rank whose relative spectral error sigma_{j+1} / sigma_1 is within one bound.

    It is alds with one group of channels and one scheme. Source: Liebenwein et al., "Compressing neural
    networks: towards determining the optimal layer-wise decomposition", 2021.
    """

    Config = SvdErrorConfig

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import by_error

        return by_error(source, (self.config.scheme,), (1,))
