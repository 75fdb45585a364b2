"""SVD with a constant rank (low rank): every layer keeps the same share of its largest rank."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source

C = TypeVar("C", bound=LowRankConfig)

Scheme = Literal[0, 1, 2, 3]


class SvdConfig(LowRankConfig):
    """Keys of svd."""

    scheme: Scheme = Field(
        0,
        description="The two layers of a convolution: 0 rows x columns, then 1 x 1; 1 one row, then one column; "
        "2 one column, then one row; 3 1 x 1, then rows x columns.",
    )


class SvdMethod(LowRankMethod[C]):
    """Base of methods whose chains come from one singular value decomposition of each layer."""

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.folding import decompose

        return decompose(source.weight, recipe["scheme"], recipe["splits"], recipe["rank"])


@METHODS.register("svd")
class Svd(SvdMethod[SvdConfig]):
    """Cuts the rank of every layer's matrix to the same share of its largest rank.

    Source: Denton et al., "Exploiting linear structure within convolutional networks for efficient
    evaluation", 2014.
    """

    Config = SvdConfig
    exact = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import constant_rank

        return constant_rank(source, (self.config.scheme,), (1,))
