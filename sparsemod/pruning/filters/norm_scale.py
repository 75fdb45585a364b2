"""Network slimming (structured): remove the channels with the smallest scale of their batch norm."""

from typing import TYPE_CHECKING

from pydantic import Field

from sparsemod.pruning.base import METHODS, Context
from sparsemod.pruning.filters.method import Allocation, FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels
    from sparsemod.pruning.filters.allocation import Counter, Kept


class NormScaleConfig(FilterConfig):
    """Keys of norm_scale."""

    allocation: Allocation = Field(
        "uniform",
        description="`uniform`: each layer loses the same share; `global`: the smallest scales of all layers are removed, "
        "and costs before training are estimates.",
    )
    shrink: float = Field(
        1e-5,
        ge=0,
        description="How much nearer to zero each step brings every scale, until pruning is complete.",
    )


@METHODS.register("norm_scale")
class NormScale(FilterMethod[NormScaleConfig]):
    """Removes the channels whose batch norm has the smallest |scale|; an L1 penalty makes scales small.

    A layer without a batch norm uses the L1 norms of its filters, relative to their largest. Source: Liu et
    al., "Learning efficient convolutional networks through network slimming", 2017.
    """

    Config = NormScaleConfig

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """See FilterMethod."""
        return self.config.allocation == "uniform"

    def start(self, context: Context) -> None:
        """See Method."""
        super().start(context)
        self._scales = {name: self._tensors[name] for name in self._norms() if name in self._tensors}

    def _norms(self) -> list[str]:
        from torch.nn.modules.batchnorm import _BatchNorm

        return [
            f"{path}.weight" if path else "weight"
            for path, part in self.context.module.named_modules()
            if isinstance(part, _BatchNorm) and part.weight is not None
        ]

    def after_step(self) -> None:
        """See Method. Also move the scales towards zero."""
        if not self._at_target and self.config.shrink:
            import torch

            with torch.no_grad():
                for scale in self._scales.values():
                    scale.copy_(scale.sign() * (scale.abs() - self.config.shrink).clamp_min(0))
        super().after_step()

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod."""
        import torch

        scores = torch.zeros(channels.count, dtype=torch.float64)
        normed = torch.zeros(channels.count, dtype=torch.bool)
        for name, scale in self._scales.items():
            rows = torch.from_numpy(channels.rows[name])
            scores.index_add_(0, rows, scale.detach().abs().double().cpu())
            normed[rows] = True
        sums = self.filter_sums(channels, lambda weight: weight.abs().sum(1))
        for group in channels.groups:
            units = torch.tensor(group.units)
            plain = units[~normed[units]]
            scores[plain] = sums[plain] / sums[units].max().clamp_min(1e-300)
        return scores

    def allocate(self, counter: "Counter", scores: "Tensor", sparsity: float) -> "Kept":
        """See FilterMethod."""
        from sparsemod.pruning.filters.allocation import ranked

        if self.config.allocation == "uniform":
            return super().allocate(counter, scores, sparsity)
        places = [
            (float(scores[unit]), group, unit)
            for group, members in enumerate(counter.channels.groups)
            for unit in members.units
        ]
        return ranked(counter, [(g, u) for _, g, u in sorted(places)], sparsity, self.config.of)
