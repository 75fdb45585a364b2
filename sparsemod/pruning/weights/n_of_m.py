"""N:M pruning (unstructured, with a pattern): n of every m consecutive weights stay."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from sparsemod.pruning.base import METHODS, Plan
from sparsemod.pruning.masks import MaskMethod
from sparsemod.pruning.weights.prunable import graph_shapes, prunable_weights
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningConfig, PruningSchedule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph


class NOfMConfig(PruningConfig):
    """Keys of n_of_m."""

    n: int = Field(2, ge=1, description="Weights that stay of each block.")
    m: int = Field(4, ge=2, le=64, description="Consecutive weights of a block.")
    schedule: PruningSchedule = Field(
        default_factory=lambda: methods.PRUNING_SCHEDULES.config("cubic"),
        description="When how many weights of each block are removed.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "NOfMConfig":
        if self.n > self.m:
            raise ValueError("n must be at most m")
        return self

    @property
    def sparsity(self) -> float:
        """Return the share of the weights to remove."""
        return 1 - self.n / self.m


@METHODS.register("n_of_m")
class NOfM(MaskMethod[NOfMConfig]):
    """Keeps the n largest |w| of every m consecutive weights of a filter or neuron.

    The order is that of the generated C: rows, columns, input channels. A shorter last block keeps the same
    share, rounded up. Sparsity is 1 - n / m. Source: Mishra et al., "Accelerating sparse deep neural
    networks", 2021.
    """

    Config = NOfMConfig

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method. `sparsity` is ignored: n and m say what stays."""
        zeros = 0
        for rows, *rest in graph_shapes(graph).values():
            length = math.prod(rest)
            zeros += rows * (length - self._kept(length, self.config.n))
        return Plan(graph, zeros)

    def _kept(self, length: int, n: int) -> int:
        whole, rest = divmod(length, self.config.m)
        return whole * n + -(-rest * n // self.config.m)

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod."""
        return prunable_weights(module)

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod. Between full density and n, whole weights of each block go."""
        m = self.config.m
        n = max(self.config.n, -(-round((1 - sparsity) * m * 1e9) // 10**9))
        return {name: self._mask(t, self._masks[name], n) for name, t in self._tensors.items()}

    def _mask(self, tensor: "Tensor", held: "Tensor", n: int) -> "Tensor":
        import torch

        m = self.config.m
        order = (0, *range(2, tensor.dim()), 1)
        inverse = [order.index(axis) for axis in range(tensor.dim())]
        score = tensor.detach().abs().masked_fill(~held, -1.0).permute(order)
        flat = score.reshape(len(score), -1)
        length = flat.shape[1]
        blocks = torch.nn.functional.pad(flat, (0, -length % m), value=-2.0).reshape(len(flat), -1, m)
        place = torch.argsort(torch.argsort(blocks, dim=2, descending=True, stable=True), dim=2, stable=True)
        limit = torch.full((blocks.shape[1], 1), n, device=tensor.device)
        if length % m:
            limit[-1] = -(-(length % m) * n // m)
        keep = (place < limit).reshape(len(flat), -1)[:, :length]
        return keep.reshape(score.shape).permute(inverse).contiguous()
