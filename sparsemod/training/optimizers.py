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
    """Return the optimizer of `settings` for `module`, with the groups of `decay_groups`.

    Raises BuildError for a module without parameters, UnknownName.
    """
    groups: list[dict[str, Any]] = [
        {"params": tensors, "weight_decay": decay}
        for decay, tensors in decay_groups(module, settings).items()
    ]
    if not groups:
        raise BuildError("the network has no parameters to train")
    return OPTIMIZERS.create(settings.optimizer).make(groups, settings.learning_rate)


def trains(optimizer: "torch.optim.Optimizer", module: "nn.Module") -> bool:
    """Return whether the optimizer has exactly the trainable parameters of `module`."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {id(p) for p in module.parameters() if p.requires_grad} == known


def rebuilt(
    before: "torch.optim.Optimizer", module: "nn.Module", settings: TrainingSpec
) -> "torch.optim.Optimizer":
    """Return an optimizer for the module's current parameters; those that `before` had keep their state."""
    made = build(module, settings)
    for group in made.param_groups:
        for parameter in group["params"]:
            if parameter in before.state:
                made.state[parameter] = before.state[parameter]
    return made


def decay_groups(module: "nn.Module", settings: TrainingSpec) -> "dict[float, list[nn.Parameter]]":
    """Return the trainable parameters by their weight decay.

    Decay applies to weights: tensors of two dimensions or more and the weights of compressed layers, not to biases and
    norms. In a layer with the attribute `compression_ratio` it is scaled by this ratio when `settings.scale_decay` is on,
    or is auto and the layer's attribute `scales_decay` is true. Source of the scaling: it keeps the total variance of the
    prior when fewer parameters share it.
    """
    own: dict[int, float] = {}
    for layer in module.modules():
        ratio = vars(layer).get("compression_ratio")
        if ratio is not None:
            default = vars(layer)["scales_decay"]
            scaled = default if settings.scale_decay == "auto" else settings.scale_decay == "on"
            for name, parameter in layer.named_parameters():
                if name.rpartition(".")[2] != "bias":
                    own[id(parameter)] = settings.weight_decay * (ratio if scaled else 1.0)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            plain = settings.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault(own.get(id(parameter), plain), []).append(parameter)
    return dict(sorted(groups.items(), key=lambda pair: -pair[0]))


def decay_note(module: "nn.Module", settings: TrainingSpec) -> str | None:
    """Return the groups as a sentence for a network with compressed layers and a decay, else None."""
    if not settings.weight_decay or not any("compression_ratio" in vars(layer) for layer in module.modules()):
        return None
    parts = [
        f"{decay:.4g} on {sum(t.numel() for t in tensors):,} parameters"
        for decay, tensors in decay_groups(module, settings).items()
    ]
    return f"weight decay: {', '.join(parts)}"
