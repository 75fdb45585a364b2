"""CP (low rank): 1 x 1, depthwise column, depthwise row, 1 x 1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source


class CpConfig(LowRankConfig):
    """Keys of cp."""

    steps: int = Field(50, ge=1, description="Rounds of alternating least squares.")


@METHODS.register("cp")
class Cp(LowRankMethod[CpConfig]):
    """Replaces a convolution by a sum of products of four vectors: 1 x 1, two depthwise layers, 1 x 1.

    Found by alternating least squares from the singular vectors. Every layer keeps the same share of its
    number of channels as its rank; a linear layer becomes two. Source: Lebedev et al., "Speeding-up
    convolutional neural networks using fine-tuned CP-decomposition", 2015.
    """

    Config = CpConfig
    exact = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import Option

        outputs, inputs, rows, columns = source.shape
        per = outputs + inputs + (0 if rows == columns == 1 else rows + columns)
        top = min(outputs, inputs) if rows == columns == 1 else source.count // per
        return [Option(j * per, 1 - j / (top + 1), {"rank": j}) for j in range(1, top + 1)]

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.folding import truncated
        from sparsemod.pruning.low_rank.layers import Factor

        rank = int(recipe["rank"])
        rows, columns = source.shape[2:]
        if rows == columns == 1:
            left, right = truncated(source.weight[:, :, 0, 0], rank)
            return [Factor(right[:, :, None, None]), Factor(left[:, :, None, None])]
        out, into, down, across = _alternating(source.weight, rank, self.config.steps)
        return [
            Factor(into.T[:, :, None, None]),
            Factor(down.T[:, None, :, None], groups=rank),
            Factor(across.T[:, None, None, :], groups=rank),
            Factor(out[:, :, None, None]),
        ]


def _alternating(weight: "Tensor", rank: int, steps: int) -> "list[Tensor]":
    """Return the matrices (size of an axis, rank) whose columns' outer products sum to the weight, nearly."""
    import torch

    unfolded = [weight.movedim(axis, 0).reshape(weight.shape[axis], -1) for axis in range(4)]
    generator = torch.Generator().manual_seed(0)
    found = []
    for matrix in unfolded:
        u = torch.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
        extra = torch.randn(len(u), rank - u.shape[1], generator=generator, dtype=u.dtype)
        found.append(torch.cat([u, extra], 1))
    for _ in range(steps):
        for axis in range(4):
            others = [found[a] for a in range(4) if a != axis]
            product = others[0]
            for other in others[1:]:
                product = (product[:, None] * other[None]).reshape(-1, rank)
            gram = torch.ones(rank, rank, dtype=weight.dtype)
            for other in others:
                gram = gram * (other.T @ other)
            ridge = 1e-10 * gram.diagonal().mean().clamp_min(1e-300) * torch.eye(rank, dtype=weight.dtype)
            found[axis] = torch.linalg.solve(gram + ridge, (unfolded[axis] @ product).T).T
    scales = torch.stack([m.norm(dim=0).clamp_min(1e-300) for m in found])
    even = scales.prod(0) ** 0.25
    return [m / s * even for m, s in zip(found, scales, strict=True)]
