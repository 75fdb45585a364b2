"""The torch module of the family `cnn1d`, named like the parameters."""

from collections import OrderedDict

from torch import Tensor, nn

from sparsemod.networks.cnn_module import SEQUENCES, convolutions, dense_head, initialize
from sparsemod.networks.cnn_plan import CnnPlan
from sparsemod.records import DataInfo
from sparsemod.sequences import mean_steps


class SequenceCnn(nn.Module):
    """Convolutions over time (`features`), and dense layers (`head`) on their mean over steps or on all steps.

    Maps (N, T, F), or (N, C, L) with `channels_first`, to (N, classes). With `averages`, `forward` takes the mean over steps; with
    `uses_lengths` it also takes the number of valid steps of each sample, of which `pooled` are one step of the features.
    `causal`: the convolutions read no later steps.
    """

    def __init__(
        self, features: nn.Sequential, head: nn.Sequential, *, channels_first: bool, averages: bool, uses_lengths: bool, pooled: int,
        causal: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features, self.head = features, head
        self.channels_first, self.averages, self.uses_lengths = channels_first, averages, uses_lengths
        self.pooled, self.causal = pooled, causal

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class."""
        x = self.features(x if self.channels_first else x.transpose(1, 2))
        if self.averages:
            if lengths is not None and self.pooled > 1:
                lengths = (lengths // self.pooled).clamp(min=1)
            x = mean_steps(x.transpose(1, 2), lengths)
        return self.head(x)  # type: ignore[no-any-return]


def build(plan: CnnPlan, data: DataInfo, batch_norm: bool, causal: bool) -> SequenceCnn:
    """Build the network, He-initialized; `data.sequences` decides whether it reads lengths."""
    averages = plan.head == "average"
    parts: OrderedDict[str, nn.Module] = OrderedDict() if averages else OrderedDict(flatten=nn.Flatten())
    module = SequenceCnn(
        convolutions(plan, SEQUENCES, batch_norm, causal),
        dense_head(plan.features, plan.dense, plan.dropout, data.classes, parts),
        channels_first=data.axes.channel == 0,
        averages=averages,
        uses_lengths=averages and data.sequences,
        pooled=2**plan.halvings,
        causal=causal,
    )
    initialize(module)
    return module
