"""ThiNet (structured): remove the channels that change the next layer's output least."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels


class ThinetConfig(FilterConfig):
    """Keys of thinet."""

    samples: int = Field(64, ge=1, description="Training samples whose outputs are compared, at most all.")
    patches: int = Field(128, ge=1, description="Positions of each layer, drawn from those of all samples.")


@METHODS.register("thinet")
class Thinet(FilterMethod[ThinetConfig]):
    """Removes channels one by one, always the one that least changes the outputs of the layers that read it.

    Every layer loses the same share. The next layer's weights are not refitted, because training continues.
    Source: Luo et al., "ThiNet: a filter level pruning method for deep neural network compression", 2017.
    """

    Config = ThinetConfig

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod: the place of each channel in the order of removal."""
        import torch

        from sparsemod.graph import capture
        from sparsemod.pruning.filters.consumers import consumers

        graph = capture(self.context.module, self.shape, self.layout)
        readers = consumers(graph, channels, self.context, self.config.samples, self.config.patches)
        products = []
        for reader in readers:
            labels = reader.labels.cpu().unique()
            gram = torch.zeros(channels.count, channels.count, dtype=torch.float64)
            for part in reader.by_label(channels.count):
                flat = part.reshape(-1, channels.count)[:, labels.to(part.device)].double()
                found = (flat.T @ flat).cpu()
                gram[labels[:, None], labels[None, :]] += found / max(1.0, float(len(part)))
            products.append((gram, set(labels.tolist())))
        scores = torch.zeros(channels.count, dtype=torch.float64)
        gone = self._gone(channels)
        for group in channels.groups:
            units = torch.tensor(group.units)
            gram = torch.zeros(len(units), len(units), dtype=torch.float64)
            for one, labels in products:
                if labels & set(group.units):
                    inner = one[units[:, None], units[None, :]]
                    gram += inner / inner.diagonal().sum().clamp_min(1e-300)
            scores[units] = _order(gram, gone[units])
        return scores


def _order(gram: "Tensor", gone: "Tensor") -> "Tensor":
    """Return each channel's place in a removal that always takes the least increase of the removed channels' squared sum."""
    import torch

    places = torch.zeros(len(gram), dtype=torch.float64)
    cost = gram.diagonal().clone()
    cost[gone] = -torch.inf
    for place in range(len(gram)):
        chosen = int(cost.argmin())
        places[chosen] = place
        cost += 2 * gram[chosen]
        cost[chosen] = torch.inf
    return places
