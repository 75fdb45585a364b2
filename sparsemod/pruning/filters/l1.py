"""Filter pruning by L1 norm (structured): whole filters are removed, and the deployed network is smaller."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels


class FiltersConfig(FilterConfig):
    """Keys of filters."""


@METHODS.register("filters")
class Filters(FilterMethod[FiltersConfig]):
    """Removes the filters of smallest L1 norm, the same share of each layer.

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017.
    """

    Config = FiltersConfig

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod."""
        return self.filter_sums(channels, lambda weight: weight.abs().sum(1))
