"""Optimizers by the names of the spec."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import BuildError
from sparsemod.registry import Registry
from sparsemod.spec.training import TrainingSpec

OptimizerFactory = Callable[[Iterable[dict[str, Any]], TrainingSpec], torch.optim.Optimizer]

OPTIMIZERS: Registry[OptimizerFactory] = Registry("optimizer", "sparsemod.optimizers")


@OPTIMIZERS.register("adam")
def adam(groups: Iterable[dict[str, Any]], settings: TrainingSpec) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba, 2015), all tensors in one pass; weight decay is an L2 term."""
    return torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)


@OPTIMIZERS.register("adamw")
def adamw(groups: Iterable[dict[str, Any]], settings: TrainingSpec) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), all tensors in one pass."""
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


@OPTIMIZERS.register("sgd")
def sgd(groups: Iterable[dict[str, Any]], settings: TrainingSpec) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's on request; weight decay is an L2 term."""
    momentum = settings.optimizer.momentum
    nesterov = settings.optimizer.nesterov and momentum > 0
    return torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=momentum, nesterov=nesterov, fused=True
    )


def build(module: nn.Module, settings: TrainingSpec) -> torch.optim.Optimizer:
    """The optimizer of `settings` for `module`. Weight decay acts on weights (two dimensions or more), not on biases and norms.

    Raises BuildError for a module without parameters, UnknownName.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise BuildError("the network has no parameters to train")
    decayed: list[Tensor] = [p for p in parameters if p.dim() >= 2]
    others = [p for p in parameters if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": tensors, "weight_decay": decay}
        for tensors, decay in ((decayed, settings.weight_decay), (others, 0.0))
        if tensors
    ]
    factory = OPTIMIZERS.get(settings.optimizer.name, field="training.optimizer.name")
    return factory(groups, settings)
