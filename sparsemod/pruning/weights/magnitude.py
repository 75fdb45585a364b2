"""Magnitude pruning (unstructured): the smallest weights become zero."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.weights.method import ScoredConfig, WeightMethod

if TYPE_CHECKING:
    from torch import Tensor


class MagnitudeConfig(ScoredConfig):
    """Keys of magnitude."""


@METHODS.register("magnitude")
class Magnitude(WeightMethod[MagnitudeConfig]):
    """Zeroes the weights of smallest |w|, over the whole network or within each layer.

    Source: Han et al., "Learning both weights and connections for efficient neural networks", 2015.
    """

    Config = MagnitudeConfig

    def scores(self, sparsity: float) -> "dict[str, Tensor]":
        """See WeightMethod."""
        return {name: tensor.detach().abs() for name, tensor in self._tensors.items()}
