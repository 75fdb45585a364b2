"""PFP (structured): remove the channels with the smallest share of the next layers' outputs."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.filters.method import FilterConfig, FilterMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.channels import Channels
    from sparsemod.pruning.filters.allocation import Counter, Kept


class PfpConfig(FilterConfig):
    """Keys of pfp."""

    form: Literal["deterministic", "random", "top"] = Field(
        "deterministic",
        description="Which channels stay: the most sensitive ones, a random sample drawn by sensitivity, or those "
        "that a sample would hold almost surely and a random sample of the others.",
    )
    samples: int = Field(64, ge=1, description="Training samples for the sensitivities, at most all.")
    patches: int = Field(128, ge=1, description="Positions of each layer, drawn from those of all samples.")


@METHODS.register("pfp")
class Pfp(FilterMethod[PfpConfig]):
    """Removes the channels of smallest sensitivity: the largest share in an output of a layer that reads them.

    Every layer keeps as many channels as a sample for the same relative error epsilon would hold; epsilon
    meets the budget. Costs before training are estimates with equal shares. Source: Liebenwein et al.,
    "Provable filter pruning for efficient neural networks", 2020.
    """

    Config = PfpConfig
    exact = False

    def scores(self, channels: "Channels") -> "Tensor":
        """See FilterMethod."""
        self._sensitivity = sensitivity = self._measured(channels)
        if self.config.form == "deterministic":
            return sensitivity
        from sparsemod.pruning.draws import sampled

        return sampled(sensitivity, self.context.seed, "pfp")

    def _measured(self, channels: "Channels") -> "Tensor":
        import torch

        from sparsemod.graph import capture
        from sparsemod.pruning.filters.consumers import consumers

        found = torch.zeros(channels.count, dtype=torch.float64)
        graph = capture(self.context.module, self.shape, self.layout)
        for consumer in consumers(graph, channels, self.context, self.config.samples, self.config.patches):
            for part in consumer.by_label(channels.count):
                size = part.abs()
                share = size / size.sum(2, keepdim=True).clamp_min(1e-30)
                found = torch.maximum(found, share.amax((0, 1)).double().cpu())
        # tells channels apart that no sample activates
        sums = self.filter_sums(channels, lambda weight: weight.abs().sum(1))
        return found + 1e-30 * sums / sums.max().clamp_min(1e-300)

    def allocate(self, counter: "Counter", scores: "Tensor", sparsity: float) -> "Kept":
        """See FilterMethod. The error epsilon that meets the budget is found by bisection."""
        import torch

        from sparsemod.pruning.filters.allocation import nearest
        from sparsemod.pruning.plan import planned_keep

        groups = [self._sensitivity[list(g.units)].clamp_min(0) for g in counter.channels.groups]

        def kept(epsilon: float) -> list[int]:
            """Return the expected number of distinct channels in a sample that is large enough for epsilon."""
            counts = []
            for sensitivity in groups:
                total = float(sensitivity.sum())
                if total <= 0:
                    counts.append(1)
                    continue
                draws = 3 * (6 + 2 * epsilon) * total / epsilon**2
                distinct = (
                    1 - torch.exp(draws * torch.log1p(-(sensitivity / total).clamp(max=1 - 1e-12)))
                ).sum()
                counts.append(max(1, min(len(sensitivity), round(float(distinct)))))
            return counts

        errors = [10 ** (-3 + 9 * place / 4095) for place in range(4096)]
        if self.config.of == "weights":
            return self._split(
                nearest(counter, sparsity, len(errors), lambda i: kept(errors[i])), groups, scores
            )
        wanted = sum(planned_keep(len(g), sparsity) for g in groups)
        low, high = 0, len(errors) - 1
        while low < high:
            middle = (low + high) // 2
            if sum(kept(errors[middle])) <= wanted:
                high = middle
            else:
                low = middle + 1
        choices = [kept(errors[place]) for place in (low - 1, low) if place >= 0]
        best = min(choices, key=lambda counts: abs(sum(counts) - wanted))
        return self._split(best, groups, scores)

    def _split(self, kept: "Kept", groups: "list[Tensor]", scores: "Tensor") -> "Kept":
        """For the form `top`, raise the scores of channels that stay for certain above those drawn."""
        channels = self._channels
        if self.config.form == "top" and channels is not None:
            for count, sensitivity, group in zip(kept, groups, channels.groups, strict=True):
                units = list(group.units)
                sure = sensitivity / sensitivity.sum().clamp_min(1e-300) >= 1.0 / count
                alive = scores[units].isfinite()
                scores[units] = scores[units].where(~(sure & alive), scores[units] + 1e9 + sensitivity)
        return kept
