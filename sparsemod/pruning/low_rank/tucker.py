"""Tucker (low rank): 1 x 1, the kernel between fewer channels, 1 x 1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source


class TuckerConfig(LowRankConfig):
    """Keys of tucker."""


@METHODS.register("tucker")
class Tucker(LowRankMethod[TuckerConfig]):
    """Replaces a convolution by three: to fewer channels, the kernel between these, and back.

    Every layer keeps the same share of its input and output channels as ranks. The decomposition is the
    higher-order SVD over both kinds of channels, improved by orthogonal iteration. Source: Kim et al.,
    "Compression of deep convolutional neural networks for fast and low power mobile applications", 2016.
    """

    Config = TuckerConfig
    exact = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import Option

        outputs, inputs, rows, columns = source.shape
        found = []
        for place in range(1, 4 * max(outputs, inputs)):
            share = place / (4 * max(outputs, inputs))
            out, into = max(1, round(share * outputs)), max(1, round(share * inputs))
            # More ranks than this would only add weights that are zero and get no gradient.
            into = min(into, out * rows * columns)
            out = min(out, into * rows * columns)
            cost = inputs * into + into * out * rows * columns + out * outputs
            found.append(Option(cost, 1 - share, {"out": out, "in": into}))
        return found

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        import torch

        from sparsemod.pruning.low_rank.layers import Factor

        weight = source.weight
        u, v = _basis(weight, 0, recipe["out"]), _basis(weight, 1, recipe["in"])
        for _ in range(10):
            u = _basis(torch.einsum("oihw,ij->ojhw", weight, v), 0, recipe["out"])
            v = _basis(torch.einsum("oihw,op->pihw", weight, u), 1, recipe["in"])
        core = torch.einsum("oihw,op,ij->pjhw", weight, u, v)
        return [Factor(v.T[:, :, None, None]), Factor(core), Factor(u[:, :, None, None])]


def _basis(tensor: "Tensor", axis: int, rank: int) -> "Tensor":
    """Return the leading left singular vectors of the tensor unfolded along an axis."""
    import torch

    matrix = tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)
    basis: Tensor = torch.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
    return basis
