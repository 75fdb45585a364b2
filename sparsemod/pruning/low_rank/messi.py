"""Messi (low rank): inputs are clustered, and each cluster gets a subspace of its own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source


class MessiConfig(LowRankConfig):
    """Keys of messi."""

    clusters: int = Field(3, ge=1, le=16, description="Clusters of each layer's inputs.")
    steps: int = Field(5, ge=1, description="Steps of the clustering.")
    starts: int = Field(5, ge=1, description="Random starts of the clustering; the best result counts.")


@METHODS.register("messi")
class Messi(LowRankMethod[MessiConfig]):
    """Partitions the columns of each layer's matrix into clusters near subspaces of a common rank.

    The first layer of a chain has clusters x rank outputs, and each of its weights outside its cluster is
    zero and stays so: such weights do not count, and the exported network stores them as zeros of a sparse
    layer. Every layer keeps the same share of its largest rank. Source: Maalouf et al., "Deep learning meets
    projective clustering", 2021.
    """

    Config = MessiConfig
    exact = True
    _fixes_zeros = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import Option
        from sparsemod.pruning.low_rank.folding import matrix_shape

        rows, columns = matrix_shape(source.shape, 0)
        clusters = min(self.config.clusters, columns)
        top = max(1, min(rows, columns // clusters))
        return [
            Option(j * (columns + clusters * rows), 1 - j / (top + 1), {"clusters": clusters, "rank": j})
            for j in range(1, top + 1)
        ]

    def chosen(
        self, sources: "Mapping[str, Source]", total: int, sparsity: float, rough: bool = False
    ) -> "dict[str, Recipe]":
        """See LowRankMethod. The recipes include the cluster of each column, which the fixed zeros follow from."""
        recipes = super().chosen(sources, total, sparsity, rough)
        return {
            name: {**recipe, "cluster": self._clustered(sources[name], recipe, rough)}
            for name, recipe in recipes.items()
        }

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        import torch

        from sparsemod.pruning.low_rank.folding import factors, fold, truncated
        from sparsemod.pruning.low_rank.layers import Factor

        matrix, rank = fold(source.weight, 0), int(recipe["rank"])
        cluster = torch.tensor(recipe["cluster"])
        left, right, zeros = [], [], []
        for place in range(recipe["clusters"]):
            mine = cluster == place
            basis = matrix.new_zeros(len(matrix), rank)
            spread = matrix.new_zeros(rank, matrix.shape[1])
            if bool(mine.any()):
                u, v = truncated(matrix[:, mine], rank)
                basis[:, : u.shape[1]] = u
                spread[: len(v), mine] = v
            left.append(basis)
            right.append(spread)
            zeros.append((~mine).expand(rank, -1))
        first, second = factors([torch.cat(left, 1)], [torch.cat(right)], source.shape, 0)
        return [Factor(first.weight, 1, torch.cat(zeros).reshape(first.weight.shape)), second]

    def _clustered(self, source: "Source", recipe: "Recipe", rough: bool) -> list[int]:
        import torch

        from sparsemod.pruning.draws import generator
        from sparsemod.pruning.low_rank.folding import fold

        matrix, count, rank = fold(source.weight, 0), int(recipe["clusters"]), int(recipe["rank"])
        columns = matrix.shape[1]
        if rough or count == 1:
            return [place * count // columns for place in range(columns)]
        best, least = torch.arange(columns) * count // columns, float("inf")
        for start in range(self.config.starts):
            drawn = torch.randperm(
                columns, generator=generator(self.context.seed, "messi", source.name, str(start))
            )
            cluster = (torch.argsort(drawn) * count // columns) if start else best.clone()
            for _ in range(self.config.steps):
                error = torch.stack([_distances(matrix, matrix[:, cluster == c], rank) for c in range(count)])
                cluster = error.argmin(0)
            total = float(
                torch.stack([_distances(matrix, matrix[:, cluster == c], rank) for c in range(count)])
                .amin(0)
                .sum()
            )
            if total < least:
                best, least = cluster, total
        return [int(c) for c in best]


def _distances(matrix: "Tensor", members: "Tensor", rank: int) -> "Tensor":
    """Return the squared distance of each column to the subspace of the members."""
    import torch

    if members.shape[1] == 0:
        return matrix.square().sum(0)
    u = torch.linalg.svd(members, full_matrices=False)[0][:, :rank]
    rest: Tensor = matrix - u @ (u.T @ matrix)
    return rest.square().sum(0)
