"""Parameters and multiply-adds of a network as functions of its substitute, for budgets."""

import copy
from collections.abc import Callable, Sequence

from torch import nn

from sparsemod.substitutes.base import ConvShape, Substitute
from sparsemod.substitutes.counting import CORRECT, Rules, count
from sparsemod.substitutes.substitution import places, substitute


def parameters_of(module: nn.Module, skip: Sequence[str] | None = None) -> Callable[[Substitute], float]:
    """Return a function from substitute to the number of parameters of `module` with it. The module is not changed."""
    found = list(places(module, skip))
    shapes = [place.shape for place in found]
    kept = sum(parameter.numel() for parameter in module.parameters()) - sum(
        _own(place.shape, place.pair is not None) for place in found
    )
    return lambda chosen: float(kept + sum(chosen.parameters(shape) for shape in shapes))


def multiply_adds_of(
    module: nn.Module, shape: tuple[int, ...], skip: Sequence[str] | None = None, rules: Rules = CORRECT
) -> Callable[[Substitute], float]:
    """Return a function from substitute to the multiply-adds of `module`, on the meta device, with it."""

    def cost(chosen: Substitute) -> float:
        changed = copy.deepcopy(module)
        substitute(changed, chosen, skip)
        return float(count(changed, shape, rules).multiply_adds)

    return cost


def _own(shape: ConvShape, pair: bool) -> int:
    weights = shape.inputs * shape.outputs * (1 if pair else shape.taps)
    return weights + (shape.depthwise if pair else 0) + (shape.outputs if shape.bias else 0)
