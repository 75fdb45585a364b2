"""Norm sampling (unstructured): weights are drawn with probabilities from their size."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.weights.method import WeightConfig, WeightMethod

if TYPE_CHECKING:
    from torch import Tensor


class NormSamplingConfig(WeightConfig):
    """Keys of norm_sampling."""

    norm: Literal["l1", "l2", "both"] = Field(
        "both",
        description="Probability of a weight: proportional to |w|, to its square, or to the mean of both shares.",
    )


@METHODS.register("norm_sampling")
class NormSampling(WeightMethod[NormSamplingConfig]):
    """Keeps a random sample of each layer's weights, drawn without replacement by their size.

    Every layer loses the same share. The weights that stay are not scaled up, because training continues.
    Source: Drineas and Zouzias, "A note on element-wise matrix sparsification", 2011 (l2); Achlioptas et
    al., "Matrix entry-wise sampling: simple is best", 2013 (l1); Kundu and Drineas, "A note on randomized
    element-wise matrix sparsification", 2014 (both).
    """

    Config = NormSamplingConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod."""
        from sparsemod.pruning.draws import sampled

        found = {}
        for name, tensor in self._tensors.items():
            size = tensor.detach().double().abs()
            first, second = size / size.sum().clamp_min(1e-300), size**2 / (size**2).sum().clamp_min(1e-300)
            p = {"l1": first, "l2": second, "both": (first + second) / 2}[self.config.norm]
            found[name] = sampled(p, self.context.seed, name).view(tensor.shape)
        return found
