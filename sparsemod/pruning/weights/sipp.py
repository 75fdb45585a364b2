"""SiPP (unstructured): remove the weights with the smallest share of their neuron's output on samples."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sparsemod.pruning.base import METHODS
from sparsemod.pruning.plan import planned_pruned
from sparsemod.pruning.weights.allocation import capped_total
from sparsemod.pruning.weights.method import WeightConfig, WeightMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sparsemod.pruning.patches import Patches


class SippConfig(WeightConfig):
    """Keys of sipp."""

    form: Literal["deterministic", "random", "hybrid"] = Field(
        "deterministic",
        description="Which weights of a neuron stay: the most sensitive ones, a random sample drawn by "
        "sensitivity, or whichever of both changes the layer's output less on the samples.",
    )
    samples: int = Field(64, ge=1, description="Training samples for the sensitivities, at most all.")
    patches: int = Field(256, ge=1, description="Positions of each layer, drawn from those of all samples.")


@METHODS.register("sipp")
class Sipp(WeightMethod[SippConfig]):
    """Zeroes the weights of smallest sensitivity: the largest share of w x input in the neuron's output.

    Positive and negative parts of the output are taken apart. Each neuron keeps the fewest weights whose
    rest has a summed sensitivity of at most epsilon; epsilon is equal for the whole network and meets the
    budget. Kept weights are not scaled up, because training continues. Source: Baykal et al., "SiPPing neural
    networks: sensitivity-informed provable pruning of neural networks", 2019.
    """

    Config = SippConfig
    scope = "global"

    def scores(self, sparsity: float) -> "Mapping[str, Tensor]":
        """See WeightMethod: minus the error of the neuron if this weight and all less important ones go."""
        from sparsemod.pruning.patches import layer_patches

        config, context = self.config, self.context
        found = layer_patches(
            context.module, context.batches(), self._tensors, config.samples, config.patches, context.seed
        )
        sensitivities = {}
        for name, tensor in self._tensors.items():
            # A layer that never runs has no sensitivity: its weights are removed first, the largest last.
            size = tensor.detach().abs().flatten(1).double()
            sensitivity = _sensitivity(found[name], tensor).double() if name in found else size * 0
            sensitivities[name] = sensitivity + 1e-30 * size / size.max().clamp_min(1e-300)
        plain = {name: _tail(s, s) for name, s in sensitivities.items()}
        if config.form == "deterministic":
            return self._shaped(plain)
        drawn = {name: _tail(self._drawn(s, name), s) for name, s in sensitivities.items()}
        if config.form == "random":
            return self._shaped(drawn)
        return self._shaped(
            {name: self._better(name, found.get(name), plain, drawn, sparsity) for name in plain}
        )

    def _shaped(self, scores: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        return {name: scores[name].view(tensor.shape) for name, tensor in self._tensors.items()}

    def _drawn(self, sensitivity: "Tensor", name: str) -> "Tensor":
        from sparsemod.pruning.draws import sampled

        return sampled(sensitivity, self.context.seed, name).view(sensitivity.shape).to(sensitivity.device)

    def _better(
        self, name: str, patches: "Patches | None", plain: "Mapping[str, Tensor]", drawn: "Mapping[str, Tensor]", sparsity: float
    ) -> "Tensor":  # fmt: skip
        """Return the layer's scores of the form whose error on the samples is smaller, at equal counts."""
        import torch

        if patches is None:
            return plain[name]
        counts = [t.numel() for t in self._tensors.values()]
        everything = torch.cat([s.reshape(-1) for s in plain.values()])
        pruned = capped_total(counts, planned_pruned(sum(counts), sparsity))
        limit = everything.sort().values[max(0, pruned - 1)]
        gone = int((plain[name] <= limit).sum())
        weight = self._tensors[name].detach()
        errors = []
        for scores in (plain[name], drawn[name]):
            mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
            mask[torch.argsort(scores.reshape(-1), stable=True)[:gone]] = False
            errors.append(float(patches.outputs(weight * ~mask.view(weight.shape)).square().sum()))
        if errors[1] >= errors[0]:
            return plain[name]
        # the order of the sample with the values of the deterministic form, so that both compete fairly
        order = torch.argsort(torch.argsort(drawn[name].reshape(-1), stable=True), stable=True)
        return plain[name].reshape(-1).sort().values[order].view(plain[name].shape)


def _sensitivity(patches: "Patches", weight: "Tensor") -> "Tensor":
    """Return each weight's largest share of its neuron's output: (filters, inputs of a filter) in [0, 1]."""
    import torch

    best = torch.zeros_like(weight.detach().flatten(1))
    for part in patches.contributions(weight):
        for sign in (1, -1):
            positive = (sign * part).clamp_min(0)
            share = positive / positive.sum(2, keepdim=True).clamp_min(1e-30)
            best = torch.maximum(best, share.amax(0))
    return best


def _tail(order: "Tensor", sensitivity: "Tensor") -> "Tensor":
    """Return for each weight the summed sensitivity of itself and of its neuron's weights of lower order."""
    import torch

    places = torch.argsort(order, dim=1, stable=True)
    sums = torch.gather(sensitivity, 1, places).cumsum(1)
    return torch.empty_like(sums).scatter_(1, places, sums)
