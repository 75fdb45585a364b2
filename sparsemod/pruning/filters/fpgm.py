"""FPGM (structured): filters near the geometric median of their layer go, since others can replace them."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels


class FpgmConfig(FilterConfig):
    """Keys of fpgm."""


@METHODS.register("fpgm")
class Fpgm(FilterMethod[FpgmConfig]):
    """Removes the filters of smallest summed distance to the layer's other filters, the same share of each layer.

    Source: He et al., "Filter pruning via geometric median for deep convolutional neural networks
    acceleration", 2019.
    """

    Config = FpgmConfig

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod. Distances to filters that are pruned already do not count."""
        import torch

        def distances(weight: "Tensor") -> "Tensor":
            alive = weight.ne(0).any(1)
            double = weight.double()
            return torch.cdist(double, double[alive]).sum(1) if bool(alive.any()) else double.sum(1)

        return self.filter_sums(channels, distances)
