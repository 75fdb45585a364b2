"""PCA (low rank): layers keep the directions in which their outputs vary most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source


class PcaConfig(LowRankConfig):
    """Keys of pca."""

    samples: int = Field(64, ge=1, description="Training samples whose outputs are analysed, at most all.")
    patches: int = Field(512, ge=2, description="Positions of each layer, drawn from those of all samples.")


@METHODS.register("pca")
class Pca(LowRankMethod[PcaConfig]):
    """Projects each layer's outputs to their principal components; every layer keeps the same share of variance.

    The components come from the outputs on training samples. The first layer of the chain has the kernel of
    the original, the second one is 1 x 1. Source: Zhang et al., "Accelerating very deep convolutional
    networks for classification and detection", 2016.
    """

    Config = PcaConfig
    patches = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import option, ranks

        variances = _components(source)[0]
        kept = (variances.cumsum(0) / variances.sum().clamp_min(1e-300)).tolist()
        return [
            option(source, 0, 1, j, max(0.0, 1 - kept[j - 1])) for j in ranks(source, 0, 1) if j <= len(kept)
        ]

    def rough_options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod. Without samples, the ranks of svd."""
        from sparsemod.pruning.low_rank.spectra import constant_rank

        return constant_rank(source, (0,), (1,))

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.folding import factors, fold

        kept = _components(source)[1][:, : recipe["rank"]]
        return factors([kept], [kept.T @ fold(source.weight, 0)], source.shape, 0)


def _components(source: "Source") -> "tuple[Tensor, Tensor]":
    """Return the variances, falling, and the principal components (outputs, outputs) of a layer's outputs.

    A layer that the network does not run, and a plan, take equal variances for all inputs.
    """
    import torch

    from sparsemod.pruning.low_rank.folding import fold

    matrix = fold(source.weight, 0)
    if source.patches is None:
        covariance = matrix @ matrix.T
    else:
        outputs = source.patches.outputs(source.weight.to(source.patches.values)).double().cpu()
        centred = outputs - outputs.mean(0)
        covariance = centred.T @ centred / max(1, len(outputs) - 1)
    variances, vectors = torch.linalg.eigh(covariance)
    return variances.flip(0).clamp_min(0), vectors.flip(1)
