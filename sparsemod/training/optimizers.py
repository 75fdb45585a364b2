"""Optimizers. One class each; `build` creates the spec's optimizer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from sparsemod.errors import BuildError
from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import OptimizerConfig
from sparsemod.spec.training import TrainingSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

C = TypeVar("C", bound=OptimizerConfig)


class Optimizer(Plugin[C]):
    """Makes a torch optimizer."""

    def make(self, groups: Iterable[dict[str, Any]], learning_rate: float) -> "torch.optim.Optimizer":
        """Return the optimizer of parameter groups, each with `params` and `weight_decay`.

        The loop sets the groups' `lr` before each step.
        """
        raise NotImplementedError


OPTIMIZERS: Plugins[Optimizer[Any], OptimizerConfig] = methods.OPTIMIZERS


class AdamConfig(OptimizerConfig):
    """Keys of adam and adamw: none."""

    FORMER = frozenset({"momentum", "nesterov"})


@OPTIMIZERS.register("adam")
class Adam(Optimizer[AdamConfig]):
    """Adam (Kingma and Ba, 2015), all tensors in one pass; weight decay is an L2 term."""

    Config = AdamConfig

    def make(self, groups: Iterable[dict[str, Any]], learning_rate: float) -> "torch.optim.Optimizer":
        """See Optimizer."""
        import torch

        return torch.optim.Adam(groups, lr=learning_rate, fused=True)


@OPTIMIZERS.register("adamw")
class AdamW(Optimizer[AdamConfig]):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), all tensors in one pass."""

    Config = AdamConfig

    def make(self, groups: Iterable[dict[str, Any]], learning_rate: float) -> "torch.optim.Optimizer":
        """See Optimizer."""
        import torch

        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


class SgdConfig(OptimizerConfig):
    """Keys of sgd."""

    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    nesterov: bool = Field(False, description="Nesterov's momentum.")


@OPTIMIZERS.register("sgd")
class Sgd(Optimizer[SgdConfig]):
    """Stochastic gradient descent with momentum, Nesterov's on request; weight decay is an L2 term."""

    Config = SgdConfig

    def make(self, groups: Iterable[dict[str, Any]], learning_rate: float) -> "torch.optim.Optimizer":
        """See Optimizer."""
        import torch

        momentum = self.config.momentum
        nesterov = self.config.nesterov and momentum > 0
        return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov, fused=True)


def build(module: "nn.Module", settings: TrainingSpec) -> "torch.optim.Optimizer":
    """Return the optimizer of `settings` for `module`.

    Weight decay applies to weights (two dimensions or more), not to biases and norms. Raises BuildError for
    a module without parameters, UnknownName.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise BuildError("the network has no parameters to train")
    decayed = [p for p in parameters if p.dim() >= 2]
    undecayed = [p for p in parameters if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": tensors, "weight_decay": decay}
        for tensors, decay in ((decayed, settings.weight_decay), (undecayed, 0.0))
        if tensors
    ]
    return OPTIMIZERS.create(settings.optimizer).make(groups, settings.learning_rate)
