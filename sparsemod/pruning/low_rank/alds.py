"""ALDS (low rank): scheme, channel groups and ranks of all layers minimize the largest error."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig
from sparsemod.pruning.low_rank.svd import SvdMethod

if TYPE_CHECKING:
    from sparsemod.pruning.low_rank.allocation import Option, Rule
    from sparsemod.pruning.low_rank.layers import Source


class AldsConfig(LowRankConfig):
    """Keys of alds."""

    allocation: Literal["error", "share", "rank"] = Field(
        "error",
        description="What decides a layer's rank: `error`, the largest error of all layers, which becomes as small "
        "as possible; `share`, the same share of weights for every layer, with the best number of groups; "
        "`rank`, the same share of the largest rank for every layer.",
    )
    splits: tuple[int, ...] = Field(
        (1, 2, 3, 4, 5),
        min_length=1,
        description="Numbers of groups of input channels to choose from. Where one does not divide the channels of a "
        "layer, the next smaller number that does takes its place. A linear layer has one group.",
    )
    schemes: tuple[Literal[0, 1, 2, 3], ...] = Field(
        (0,), min_length=1, description="Schemes to choose from, as for svd."
    )


@METHODS.register("alds")
class Alds(SvdMethod[AldsConfig]):
    """Folds each layer's weight into a matrix, splits its input channels into groups and cuts every group's rank.

    The choice minimizes the largest relative error over all layers under one budget of weights. For each
    bound of the error every layer takes its smallest chain within it; the bound is found by bisection, which
    gives the optimum without random restarts. Source: Liebenwein et al., "Compressing neural networks:
    towards determining the optimal layer-wise decomposition", 2021.
    """

    Config = AldsConfig

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """See LowRankMethod."""
        return self.config.allocation == "rank"

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import by_error, constant_rank

        config = self.config
        if config.allocation == "rank":
            return constant_rank(source, config.schemes, config.splits[-1:])
        return by_error(source, config.schemes, config.splits)

    def rule(self) -> "tuple[Rule, Sequence[float]]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import best_share

        if self.config.allocation != "share":
            return super().rule()
        return best_share, [place / 4095 for place in range(4096)]
