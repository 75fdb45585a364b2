"""Uniform random filter pruning (structured): the baseline that every other method should beat."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels


class RandomFiltersConfig(FilterConfig):
    """Keys of random_filters."""


@METHODS.register("random_filters")
class RandomFilters(FilterMethod[RandomFiltersConfig]):
    """Removes filters at random, the same share of each layer. The training's seed chooses them."""

    Config = RandomFiltersConfig

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod. Equal at every call, so that filters that are gone stay so."""
        from sparsemod.pruning.draws import uniform

        return uniform(self.context.seed, "filters", channels.count)
