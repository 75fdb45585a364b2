"""Global magnitude pruning (unstructured): the smallest weights of the whole network become zero."""

import torch
from torch import Tensor, nn

from sparsemod.pruning.base import PRUNERS, MaskPruner
from sparsemod.pruning.plan import planned_pruned
from sparsemod.pruning.schedules import Schedule


def prunable_weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by name, a shared one once. Biases and norms are not
    pruned."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        # A parametrized layer computes its weight anew in each step: a mask on the result would not last.
        weight = layer._parameters.get("weight")
        if weight is not None and id(weight) not in seen:
            seen.add(id(weight))
            found[f"{path}.weight" if path else "weight"] = weight
    return found


@PRUNERS.register("magnitude")
class Magnitude(MaskPruner):
    """Zeroes the round(sparsity x weights) weights of smallest |w| over all conv and linear layers together.

    Every layer keeps its largest weight (a layer of zeros cuts the network in two), so at sparsities where
    fewer weights than layers would remain, one per layer remains. Ties go by position, so equal inputs give
    equal masks. Source: Han et al., "Learning both weights and connections for efficient neural networks",
    2015.
    """

    def __init__(self, sparsity: float, schedule: Schedule, shape: tuple[int, ...] = ()) -> None:
        """`shape` is not needed by this method."""
        super().__init__(sparsity, schedule)

    def find(self, module: nn.Module) -> dict[str, Tensor]:
        """See MaskPruner."""
        return prunable_weights(module)

    def choose(self, sparsity: float) -> dict[str, Tensor]:
        """See MaskPruner."""
        scores = []
        for name, tensor in self._tensors.items():
            # Those pruned before go first: another weight may be exactly zero too.
            score = tensor.detach().abs().masked_fill(~self._masks[name], -1.0).flatten()
            score[score.argmax()] = torch.inf
            scores.append(score)
        together = torch.cat(scores)
        pruned = min(planned_pruned(together.numel(), sparsity), together.numel() - len(scores))
        keep = torch.ones_like(together, dtype=torch.bool)
        keep[torch.argsort(together, stable=True)[:pruned]] = False
        parts = keep.split([score.numel() for score in scores])
        return {name: part.view_as(t) for (name, t), part in zip(self._tensors.items(), parts, strict=True)}

    def measure(self) -> float:
        """See MaskPruner."""
        total = sum(mask.numel() for mask in self._masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self._masks.values()) / total if total else 0.0
