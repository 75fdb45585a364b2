"""Deployment of networks with substitutes: the form to deploy, and its costs beside those of full convolutions."""

import copy
import re
from collections.abc import Callable, Sequence

import torch
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName, Unsupported
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.networks.zoo import network as zoo
from sparsemod.networks.zoo.catalogue import DATASETS
from sparsemod.substitutes.base import Substitute, create
from sparsemod.substitutes.budget import Fit, fit
from sparsemod.substitutes.costs import multiply_adds_of, parameters_of
from sparsemod.substitutes.layers import ChannelShuffle, Substituted
from sparsemod.substitutes.published import bare
from sparsemod.substitutes.substitution import substitute, without_shuffles
from sparsemod.targets import device
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


def fit_budget(
    network: str, name: str, dataset: str, skip: tuple[str, ...] | None, budget: str, on: str
) -> Fit:
    """Return the setting of a substitute with which a network of the zoo meets a budget such as "parameters 1M".

    A budget of flash, RAM or instructions is that of the int8 network on the device `on`, as predicted. Raises
    UnknownName, InvalidInput, and the errors of capture and cost model.
    """
    metric, target = _budget(budget)
    if any(part[:1] != "d" for part in name.split("_")[1:]):
        raise InvalidInput("--substitute", name, "a substitute without its setting, which --budget finds")
    chosen, shape = create(name, "--substitute", free=True), DATASETS[dataset][0]
    if metric == "parameters":
        return fit(chosen, target, parameters_of(bare(network, dataset), skip))
    if metric == "multiply-adds":
        return fit(chosen, target, multiply_adds_of(bare(network, dataset), shape, skip))
    return fit(
        chosen, target, device_cost(lambda: zoo(network).build(*DATASETS[dataset]), shape, metric, on, skip)
    )


def device_cost(
    build: Callable[[], nn.Module],
    shape: tuple[int, ...],
    metric: str,
    on: str,
    skip: Sequence[str] | None = None,
) -> Callable[[Substitute], float]:
    """Return a function from substitute to a predicted cost of the network that `build` returns, as int8 on a device.

    `metric` is a cost such as flash, ram or instructions. Raises UnknownName for the device, and for a metric that the
    device's core has no model for.
    """
    target, held = device(on), build()

    def cost(chosen: Substitute) -> float:
        module = copy.deepcopy(held)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            substitute(module, chosen, skip)
        found = costs(deployed(capture(deployable(module, shape, None), shape)), target)
        if metric not in found:
            raise UnknownName("budget", metric, found)
        return found[metric].value

    return cost


_WORDS = re.compile(
    r"\s*(?P<metric>[a-zA-Z][a-zA-Z_-]*)\s*(?:<=|:|=)?\s*(?P<value>[0-9.]+(?:e[+-]?[0-9]+)?\s*[a-zA-Z]*)\s*"
)
_COUNTED = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BUDGETS = ("parameters", "multiply-adds", "flash", "ram", "instructions")


def _budget(text: str) -> tuple[str, float]:
    found = _WORDS.fullmatch(text)
    allowed = f'a cost and its target, such as "parameters 1M" or "flash 64 KB"; costs: {", ".join(_BUDGETS)}'
    if found is None or (metric := found["metric"].lower().replace("_", "-")) not in _BUDGETS:
        raise InvalidInput("--budget", text, allowed)
    if metric in ("flash", "ram"):
        return metric, METRICS[metric].parse(found["value"], "--budget")
    number = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmg]?)", found["value"].lower())
    try:
        value = float(number[1]) * _COUNTED[number[2]] if number else 0.0
    except ValueError:
        value = 0.0
    if not value > 0:
        raise InvalidInput("--budget", text, allowed)
    return metric, value
