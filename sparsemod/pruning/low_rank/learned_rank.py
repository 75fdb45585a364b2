"""Learned ranks (low rank): training and compression alternate, and each layer's rank is part of the loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.low_rank.method import LowRankConfig
from sparsemod.pruning.low_rank.svd import Scheme, SvdMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.low_rank.allocation import Option, Rule
    from sparsemod.pruning.low_rank.layers import Source


class LearnedRankConfig(LowRankConfig):
    """Keys of learned_rank."""

    scheme: Scheme = Field(1, description="The two layers of a convolution, as for svd.")
    penalty: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="How far each step moves a weight towards its low-rank counterpart, as a share of their "
        "distance, in the epoch before the ranks are cut; earlier epochs move less.",
    )


@METHODS.register("learned_rank")
class LearnedRank(SvdMethod[LearnedRankConfig]):
    """Cuts ranks so that squared error + lambda x weights is least over all layers; lambda meets the budget.

    Until the ranks are cut, training is drawn towards the low-rank weights, which each epoch computes anew
    (the learning and the compression step of L-C). Source: Idelbayev and Carreira-Perpiñán, "Low-rank
    compression of neural nets: learning the rank of each layer", 2020.
    """

    Config = LearnedRankConfig

    def __init__(self, config: LearnedRankConfig) -> None:
        super().__init__(config)
        self._pull: list[tuple[Tensor, Tensor]] = []
        self._strength = 0.0

    def options(self, source: "Source") -> "Sequence[Option]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.spectra import forms, option, ranks, values

        found = []
        for scheme, count in forms(source, (self.config.scheme,), (1,)):
            energy = values(source, scheme, count)[0] ** 2
            lost = [*energy.flip(0).cumsum(0).flip(0).tolist(), 0.0]
            found += [option(source, scheme, count, j, lost[j]) for j in ranks(source, scheme, count)]
        return found

    def rule(self) -> "tuple[Rule, Sequence[float]]":
        """See LowRankMethod."""
        from sparsemod.pruning.low_rank.allocation import best_trade

        return best_trade, [0.0, *(10 ** (-12 + 18 * place / 4095) for place in range(4096))]

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Method. Before the ranks are cut, compute the low-rank weights that draw the training."""
        super().before_epoch(epoch, epochs)
        self._pull = []
        if self._at_target or self.chains() or not self.config.penalty:
            return
        from sparsemod.pruning.low_rank.layers import Decomposed, source_of

        layers = {path: self._whole(path) for path in self._names}
        sources = {path: source_of(path, layer) for path, layer in layers.items()}
        for path, recipe in self.chosen(sources, self._total, self.config.sparsity).items():
            layer = layers[path]
            near = Decomposed(layer, self.factors(sources[path], recipe), recipe).product()
            self._pull.append((layer.weight, near.to(layer.weight)))
        self._strength = self.config.penalty * epoch / epochs

    def after_step(self) -> None:
        """See Method. Move the weights towards their low-rank counterparts."""
        import torch

        with torch.no_grad():
            for weight, near in self._pull:
                weight.lerp_(near, self._strength)

    def finish(self) -> None:
        """See Method."""
        super().finish()
        self._pull = []

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Method."""
        super().load_state_dict(state)
        self._pull = []
