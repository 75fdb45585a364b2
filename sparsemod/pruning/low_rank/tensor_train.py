"""Tensor train (low rank): 1 x 1, one column, one row, 1 x 1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig, LowRankMethod

if TYPE_CHECKING:
    from sparsemod.pruning.low_rank.allocation import Option
    from sparsemod.pruning.low_rank.layers import Factor, Recipe, Source


class TensorTrainConfig(LowRankConfig):
    """Keys of tensor_train."""


@METHODS.register("tensor_train")
class TensorTrain(LowRankMethod[TensorTrainConfig]):
    """Replaces a convolution by four: 1 x 1, rows x 1, 1 x columns, 1 x 1; a linear layer by two.

    The axes of the train are input channels, rows, columns, output channels, and each is cut off by an SVD.
    Every layer keeps the same share of its largest ranks. Source: Oseledets, "Tensor-train decomposition",
    2011; Garipov et al., "Ultimate tensorization: compressing convolutional and FC layers alike", 2016.
    """

    Config = TensorTrainConfig
    exact = True

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import Option

        outputs, inputs, rows, columns = source.shape
        if rows == columns == 1:
            top = min(outputs, inputs)
            return [
                Option(j * (outputs + inputs), 1 - j / (top + 1), {"ranks": [j]}) for j in range(1, top + 1)
            ]
        tops = (inputs, min(inputs * rows, columns * outputs), outputs)
        steps = 4 * max(tops)
        found = []
        for place in range(1, steps):
            share = place / steps
            a, b, c = (max(1, round(share * top)) for top in tops)
            # A train's rank is at most the product of its neighbour's rank and the axis between: more would only add
            # weights that are zero and get no gradient.
            b = min(b, a * rows, c * columns)
            a, c = min(a, b * rows), min(c, b * columns)
            cost = inputs * a + a * rows * b + b * columns * c + c * outputs
            found.append(Option(cost, 1 - share, {"ranks": [a, b, c]}))
        return found

    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """See LowRankMethod."""
        import torch

        from sparsemod.pruning.low_rank.folding import truncated
        from sparsemod.pruning.low_rank.layers import Factor

        outputs, inputs, rows, columns = source.shape
        if len(recipe["ranks"]) == 1:
            left, right = truncated(source.weight[:, :, 0, 0], recipe["ranks"][0])
            return [Factor(right[:, :, None, None]), Factor(left[:, :, None, None])]
        a, b, c = recipe["ranks"]
        tensor = source.weight.permute(1, 2, 3, 0)
        first, rest = truncated(tensor.reshape(inputs, -1), a)
        second, rest = truncated(rest.reshape(a * rows, -1), b)
        third, last = truncated(rest.reshape(b * columns, outputs), c)
        return [
            Factor(first.T[:, :, None, None]),
            Factor(second.reshape(a, rows, b).permute(2, 0, 1)[:, :, :, None]),
            Factor(torch.movedim(third.reshape(b, columns, c), 2, 0)[:, :, None, :]),
            Factor(last.T[:, :, None, None]),
        ]
