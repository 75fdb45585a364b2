"""Functions of one value as nested tuples: (name, operands ...), where ("x",) is the value itself.

Numbers among the operands are parameters. `evaluate` computes a function with torch, `title` describes it in a few words.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.errors import InvalidInput

Function = tuple[Any, ...]

X: Function = ("x",)


def _clamp(x: Tensor, low: float | None, high: float | None) -> Tensor:
    x = x if low is None else x.clamp_min(low)
    return x if high is None else x.clamp_max(high)


_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "mish": functional.mish,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "log_sigmoid": functional.logsigmoid,
    "softsign": functional.softsign,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "abs": torch.abs,
    "neg": torch.neg,
    "sign": torch.sign,
    "square": torch.square,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "round": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "gelu": lambda x, how: functional.gelu(x, approximate=how),
    "leaky_relu": functional.leaky_relu,
    "elu": lambda x, alpha, scale, inner: scale * torch.where(x > 0, x, alpha * torch.expm1(x * inner)),
    "softplus": lambda x, beta, threshold: functional.softplus(x, beta, threshold),
    "threshold": lambda x, limit, value: torch.where(x > limit, x, torch.full_like(x, value)),
    "hardshrink": lambda x, limit: functional.hardshrink(x, limit),
    "softshrink": lambda x, limit: functional.softshrink(x, limit),
    "pow": torch.pow,
    "clamp": _clamp,
    "affine": lambda x, scale, shift: x * scale + shift,
    "gt": lambda x, limit: (x > limit).to(x.dtype),
    "ge": lambda x, limit: (x >= limit).to(x.dtype),
    "lt": lambda x, limit: (x < limit).to(x.dtype),
    "le": lambda x, limit: (x <= limit).to(x.dtype),
    "where": lambda condition, a, b: torch.where(condition > 0, a, b),
    "sum": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": lambda a, b: torch.maximum(a, torch.as_tensor(b, dtype=a.dtype)),
    "minimum": lambda a, b: torch.minimum(a, torch.as_tensor(b, dtype=a.dtype)),
}


def evaluate(function: Function, x: Tensor) -> Tensor:
    """Return the function of every value of `x`. Raises InvalidInput for an unknown function."""
    name, *operands = function
    if name == "x":
        return x
    if name not in _FUNCTIONS:
        raise InvalidInput("function", name, f"one of {', '.join(sorted(_FUNCTIONS))}")
    return _FUNCTIONS[name](*(evaluate(o, x) if isinstance(o, tuple) else o for o in operands))


def inside(outer: Function, inner: Function) -> Function:
    """Return the function outer(inner(x))."""
    if outer == X:
        return inner
    return (outer[0], *(inside(o, inner) if isinstance(o, tuple) else o for o in outer[1:]))


def title(function: Function) -> str:
    """Return the function's name, and for a composition the names of its steps: "sigmoid(affine)"."""
    inner = [title(o) for o in function[1:] if isinstance(o, tuple) and o != X]
    return f"{function[0]}({', '.join(inner)})" if inner else str(function[0])
