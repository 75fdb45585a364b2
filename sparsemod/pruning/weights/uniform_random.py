"""Uniform random pruning (unstructured): the baseline that every other method should beat."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.weights.method import WeightConfig, WeightMethod

if TYPE_CHECKING:
    from torch import Tensor


class RandomWeightsConfig(WeightConfig):
    """Keys of random_weights."""


@METHODS.register("random_weights")
class RandomWeights(WeightMethod[RandomWeightsConfig]):
    """Zeroes weights at random, the same share of each layer. The training's seed chooses them."""

    Config = RandomWeightsConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod. Equal at every call, so that weights that are pruned stay pruned."""
        from sparsemod.pruning.draws import uniform

        return {n: uniform(self.context.seed, n, t.numel()).view(t.shape) for n, t in self._tensors.items()}
