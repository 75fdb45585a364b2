"""Deployment of networks with substitutes: the form to deploy, and its costs beside those of full convolutions."""

from collections.abc import Sequence

from torch import nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph import capture
from sparsemod.substitutes.layers import ChannelShuffle, Substituted
from sparsemod.substitutes.substitution import without_shuffles
from sparsemod.units import METRICS

_STATED = ("flash", "ram", "instructions")


def has_substitutes(module: nn.Module) -> bool:
    """Return whether a substitute replaces a convolution of the network."""
    return any(isinstance(part, Substituted) for part in module.modules())


def deployable(module: nn.Module, shape: Sequence[int], layout: str | None) -> nn.Module:
    """Return the network in the form to deploy: itself where every operator of its substitutes is supported.

    Computed kernels become constants when the network is captured. Channel shuffles that capture does not support are
    folded into full convolutions of a copy.
    """
    if not any(isinstance(part, ChannelShuffle) for part in module.modules()):
        return module
    try:
        capture(module, shape, layout)
    except (Unsupported, InvalidInput):
        return without_shuffles(module)
    return module


def comparison(own: dict[str, float], full: dict[str, float]) -> str:
    """Return a sentence with flash, RAM and instructions (or what is known of them) of both forms."""

    def words(costs: dict[str, float]) -> str:
        known = [name for name in _STATED if name in costs]
        return ", ".join(f"{name} {_shown(name, costs[name])}" for name in known) or "costs not known"

    return f"substitutes deployed as their own layers: {words(own)}; reconstructed as full convolutions: {words(full)}"


def _shown(name: str, value: float) -> str:
    return METRICS[name].show(value) if name in METRICS else f"{value:,.0f}"
