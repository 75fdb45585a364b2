"""The common base of methods that remove whole filters."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import Field

from sparsemod.pruning.base import Plan
from sparsemod.pruning.masks import MaskConfig, MaskMethod
from sparsemod.pruning.plan import reached_note

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph
    from sparsemod.pruning.channels import Channels
    from sparsemod.pruning.filters.allocation import Counter, Kept

Allocation = Literal["uniform", "global"]


class FilterConfig(MaskConfig):
    """Keys of a method that removes filters."""

    sparsity: float = Field(0.5, ge=0, lt=1, description="Share to remove of what `of` names.")
    of: Literal["filters", "weights"] = Field(
        "filters",
        description="What `sparsity` is a share of: the filters (of each layer, where all layers lose the same "
        "share), or the weights of the network, where the nearest reachable number counts.",
    )


C = TypeVar("C", bound=FilterConfig)


class FilterMethod(MaskMethod[C]):
    """Zeroes the filters (conv) and neurons (linear) of lowest score; `transform` cuts them out.

    A pruned filter's weights, bias and the scale, shift and running mean of its norm are zero, so that its
    output is exactly zero in training and evaluation. Layers whose outputs are added lose the same filters,
    ranked by the sum of their scores. The outputs of a depthwise convolution are removed with their input
    channels. The groups of a grouped convolution lose the filters at the same places. A unit of a recurrent
    layer goes with all of its gates. Filters that feed the network's output stay: `frozen` lists them with the
    reason. Every layer keeps at least one filter.
    """

    exact: ClassVar[bool] = True
    """Whether the number of filters of each layer is known before training; otherwise plans are estimates."""

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._channels: Channels | None = None
        self._counter: Counter | None = None

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method. An estimate with equal shares if the shares follow from the trained weights."""
        from sparsemod.pruning.shrinking import planned_shrink_graph

        if sparsity <= 0:
            return Plan(graph)
        return Plan(planned_shrink_graph(graph, sparsity, owned, self.config.of), exact=self.exact)

    def transform(self, module: "nn.Module", shape: Sequence[int], layout: str | None = None) -> "nn.Module":
        """See Method. Return a copy without the zero filters."""
        from sparsemod.pruning.shrinking import shrink

        return shrink(module, shape, layout) if self.config.sparsity > 0 else module

    @property
    def frozen(self) -> Mapping[str, str]:
        """Layers that cannot be pruned, wholly or in part, with the reason; known after `start`."""
        return {} if self._channels is None else dict(self._channels.frozen)

    @abstractmethod
    def scores(self, channels: "Channels") -> "Tensor":
        """Return the importance of each label, float64 (channels.count,), on the CPU."""

    def allocate(self, counter: "Counter", scores: "Tensor", sparsity: float) -> "Kept":
        """Return how many filters of each group stay."""
        from sparsemod.pruning.filters.allocation import equal_shares

        return equal_shares(counter, sparsity, self.config.of)

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod. Raises Unsupported for a module that cannot be captured."""
        from sparsemod.graph import capture
        from sparsemod.pruning.channels import channels_of, named_tensors
        from sparsemod.pruning.filters.allocation import Counter

        tensors = named_tensors(module)
        graph = capture(module, self.shape, self.layout)
        self._channels = channels = channels_of(graph, tensors)
        self._counter = Counter(graph, channels)
        units = {unit for group in channels.groups for unit in group.units}
        return {n: tensors[n] for n, labels in channels.rows.items() if units & set(labels.tolist())}

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod."""
        import torch

        channels, counter = self._channels, self._counter
        if channels is None or counter is None:
            return {}
        zero = self.filter_sums(channels, lambda weight: weight.ne(0).sum(1)) == 0
        scores = self.scores(channels)
        # Filters that are zero are pruned first: an earlier training has pruned them.
        scores = scores.masked_fill(zero, -1e301).masked_fill(self._gone(channels), -torch.inf)
        keep = torch.ones(channels.count, dtype=torch.bool)
        for group, kept in zip(channels.groups, self.allocate(counter, scores, sparsity), strict=True):
            units = torch.tensor(group.units)
            order = torch.argsort(scores[units], descending=True, stable=True)
            keep[units[order[kept:]]] = False
        return {name: self._rows(channels, name, keep) for name in self._tensors}

    def _gone(self, channels: "Channels") -> "Tensor":
        """Return which labels are pruned already."""
        import torch

        alive = torch.zeros(channels.count)
        for name in channels.filters:
            if name in self._masks:  # which stay after `finish`
                rows = self._masks[name].flatten(1).any(1).cpu().float()
                alive.index_add_(0, torch.from_numpy(channels.rows[name]), rows)
        made = torch.zeros(channels.count, dtype=torch.bool)
        for group in channels.groups:
            made[list(group.units)] = True
        return made & (alive == 0)

    def _rows(self, channels: "Channels", name: str, keep: "Tensor") -> "Tensor":
        import torch

        tensor = self._tensors[name]
        rows = keep[torch.from_numpy(channels.rows[name])].to(tensor.device)
        return rows.view(-1, *(1,) * (tensor.dim() - 1)).expand_as(tensor).clone()

    def filter_sums(self, channels: "Channels", value: "Callable[[Tensor], Tensor]") -> "Tensor":
        """Return the sum over layers of `value` (a weight (filters, inputs) -> (filters,)) for each label."""
        import torch

        scores = torch.zeros(channels.count, dtype=torch.float64)
        for name in channels.filters:
            if name in self._tensors:
                found = value(self._tensors[name].detach().flatten(1)).double().cpu()
                scores.index_add_(0, torch.from_numpy(channels.rows[name]), found)
        return scores

    @property
    def sparsity(self) -> float:
        """See Method. The share of the prunable filters, or of the weights, as `of` says."""
        import torch

        channels, counter = self._channels, self._counter
        if channels is None or counter is None or not self._masks:
            return 0.0
        gone = self._gone(channels)
        if self.config.of == "weights":
            return 1.0 - counter.left((~gone).numpy()) / counter.weights if counter.weights else 0.0
        total = lost = 0
        units = torch.zeros(channels.count, dtype=torch.bool)
        for group in channels.groups:
            units[list(group.units)] = True
        for labels in channels.layers.values():
            made = torch.from_numpy(labels)
            total, lost = total + int(units[made].sum()), lost + int(gone[made].sum())
        return lost / total if total else 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """See Method. Says the nearest reachable share where it differs by more than 0.5 % of the weights."""
        if self.config.of != "weights" or not self._at_target:
            return ()
        return reached_note(self.sparsity, self.config.sparsity)
