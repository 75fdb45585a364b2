"""Soft filter pruning (structured): pruned filters may grow again until the schedule ends."""

from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sparsemod.pruning.channels import Channels


class SoftFiltersConfig(FilterConfig):
    """Keys of soft_filters."""


@METHODS.register("soft_filters")
class SoftFilters(FilterMethod[SoftFiltersConfig]):
    """Removes the filters of smallest L2 norm, the same share of each layer.

    While the schedule rises, the filters are zeroed at the beginning of an epoch and trained on, so that a
    filter can come back. From the full sparsity on they stay zero. Source: He et al., "Soft filter pruning
    for accelerating deep convolutional neural networks", 2018.
    """

    Config = SoftFiltersConfig

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod."""
        return self.filter_sums(channels, lambda weight: weight.norm(dim=1))

    def _apply(self, masks: "Mapping[str, Tensor]") -> None:
        import torch

        super()._apply(masks)
        if not self._complete:
            # zero now, free in the steps that follow: nothing is pruned for good
            self._masks = {name: torch.ones_like(mask) for name, mask in masks.items()}
            self._drops = []
