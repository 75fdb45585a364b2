"""Functions of one value as C code, with the operations and the order of `sparsemod.quantization.dynamic_functions`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sparsemod.export.c import text
from sparsemod.graph.functions import Function


def _clamp(x: str, low: str | None, high: str | None) -> str:
    x = x if low is None else f"({x} < {low} ? {low} : {x})"
    return x if high is None else f"({x} > {high} ? {high} : {x})"


def _hard_sigmoid(x: str) -> str:
    return f"nd_quotient(nd_activated(nd_sum({x}, 3.0f), ND_RELU6), 6.0f)"


_FUNCTIONS: Mapping[str, Callable[..., str]] = {
    "relu": lambda x: f"nd_activated({x}, ND_RELU)",
    "relu6": lambda x: f"nd_activated({x}, ND_RELU6)",
    "sigmoid": lambda x: f"nd_sigmoid({x})",
    "tanh": lambda x: f"nd_tanh({x})",
    "silu": lambda x: f"nd_product({x}, nd_sigmoid({x}))",
    "hardsigmoid": _hard_sigmoid,
    "hardswish": lambda x: f"nd_product({x}, {_hard_sigmoid(x)})",
    "leaky_relu": lambda x, slope: f"({x} > 0.0f ? {x} : nd_product({x}, {slope}))",
    "abs": lambda x: f"({x} < 0.0f ? -{x} : {x})",
    "neg": lambda x: f"(-{x})",
    "reciprocal": lambda x: f"nd_quotient(1.0f, {x})",
    "square": lambda x: f"nd_product({x}, {x})",
    "clamp": _clamp,
    "threshold": lambda x, limit, value: f"({x} > {limit} ? {x} : {value})",
    "affine": lambda x, scale, shift: f"nd_sum(nd_product({x}, {scale}), {shift})",
    "gt": lambda x, limit: f"({x} > {limit} ? 1.0f : 0.0f)",
    "ge": lambda x, limit: f"({x} >= {limit} ? 1.0f : 0.0f)",
    "lt": lambda x, limit: f"({x} < {limit} ? 1.0f : 0.0f)",
    "le": lambda x, limit: f"({x} <= {limit} ? 1.0f : 0.0f)",
    "sum": lambda a, b: f"nd_sum({a}, {b})",
    "subtract": lambda a, b: f"nd_difference({a}, {b})",
    "multiply": lambda a, b: f"nd_product({a}, {b})",
    "divide": lambda a, b: f"nd_quotient({a}, {b})",
    "where": lambda condition, a, b: f"({condition} > 0.0f ? {a} : {b})",
    "maximum": lambda a, b: f"({a} > {b} ? {a} : {b})",
    "minimum": lambda a, b: f"({a} < {b} ? {a} : {b})",
}


def written(function: Function) -> tuple[str, tuple[str, ...]]:
    """Return the body of a C function of `float x`, and the kernels that it calls.

    Needs: `dynamic_functions.unknown(function)` is None."""
    lines: list[str] = []
    result = _written(function, lines)
    body = "".join(f"    const float {line};\n" for line in lines) + f"    return {result};\n"
    return body, tuple(kernel for kernel in ("nd_sigmoid", "nd_tanh") if f"{kernel}(" in body)


def _written(function: Function, lines: list[str]) -> str:
    """Append one assignment for each operand that is a function, and return the name of the result."""
    name, *operands = function
    if name == "x":
        return "x"
    parts = [_operand(operand, lines) for operand in operands]
    # Expressions repeat their operands, so each result gets a name.
    lines.append(f"v{len(lines)} = {_FUNCTIONS[name](*parts)}")
    return f"v{len(lines) - 1}"


def _operand(operand: Any, lines: list[str]) -> str | None:
    if isinstance(operand, tuple):
        return _written(operand, lines)
    return None if operand is None else _constant(float(operand))


def _constant(value: float) -> str:
    """Return a float32 constant; a negative one in parentheses."""
    written = text.real(float(np.float32(value)))
    return f"({written})" if written.startswith("-") else written
