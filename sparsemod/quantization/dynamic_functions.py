"""Functions of one value (see `sparsemod.graph.functions`) in the float32 arithmetic that the generated C repeats."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sparsemod.graph.functions import Function
from sparsemod.quantization.dynamic_arithmetic import activated, number, sigmoid, tanh


def _hard_sigmoid(x: Tensor) -> Tensor:
    return activated(x + number(3.0), "relu6") / number(6.0)


def _clamp(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    x = x if low is None else torch.where(x < low, low, x)
    return x if high is None else torch.where(x > high, high, x)


def _truth(condition: Tensor) -> Tensor:
    return torch.where(condition, number(1.0), number(0.0))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": lambda x: activated(x, "relu"),
    "relu6": lambda x: activated(x, "relu6"),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "silu": lambda x: x * sigmoid(x),
    "hardsigmoid": _hard_sigmoid,
    "hardswish": lambda x: x * _hard_sigmoid(x),
    "leaky_relu": lambda x, slope: torch.where(x > 0, x, x * slope),
    "abs": lambda x: torch.where(x < 0, -x, x),
    "neg": lambda x: -x,
    "reciprocal": lambda x: number(1.0) / x,
    "square": lambda x: x * x,
    "clamp": _clamp,
    "threshold": lambda x, limit, value: torch.where(x > limit, x, value),
    "affine": lambda x, scale, shift: x * scale + shift,
    "gt": lambda x, limit: _truth(x > limit),
    "ge": lambda x, limit: _truth(x >= limit),
    "lt": lambda x, limit: _truth(x < limit),
    "le": lambda x, limit: _truth(x <= limit),
    "sum": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "where": lambda condition, a, b: torch.where(condition > 0, a, b),
    "maximum": lambda a, b: torch.where(a > b, a, b),
    "minimum": lambda a, b: torch.where(a < b, a, b),
}
"""The functions that have a definition in float32; the C export has one for each of them."""


def unknown(function: Function) -> str | None:
    """Return the first name in a function that has no definition here, else None."""
    name, *operands = function
    if name != "x" and name not in FUNCTIONS:
        return str(name)
    return next((found for o in operands if isinstance(o, tuple) and (found := unknown(o))), None)


def evaluate(function: Function, x: Tensor) -> Tensor:
    """Return the function of every value of a float32 `x`. Needs: `unknown(function)` is None."""
    name, *operands = function
    return x if name == "x" else FUNCTIONS[name](*(_operand(operand, x) for operand in operands))


def _operand(operand: Any, x: Tensor) -> Any:
    if isinstance(operand, tuple):
        return evaluate(operand, x)
    return None if operand is None else number(float(operand))
