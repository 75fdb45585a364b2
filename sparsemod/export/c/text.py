"""Formatting of names and numbers as C text."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.quantization.tensor import TensorInfo

WIDTH = 100


def layer_name(model: str, index: int, layer: str) -> str:
    """Return the C identifier prefix of the constants of `layer`, number `index` in execution order; unique to this layer and model."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", layer).strip("_")
    return f"{model}__{index}_{words}" if words else f"{model}__{index}"


def identifier(text: str) -> str:
    """Return the letters and digits of `text` as words joined by single underscores, for a part of a C identifier."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "x"


def comment(text: str) -> str:
    """Return `text` in a form that is safe inside a C comment: printable ASCII, no end of comment."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *")


def array(kind: str, name: str, values: NDArray[Any]) -> str:
    """Return `static const kind name[n] = {...};`, wrapped."""
    flat = np.asarray(values).reshape(-1)
    items = [real(float(v)) if kind == "float" else integer(int(v)) for v in flat]
    return f"static const {kind} {name}[{len(flat)}] = {{\n{rows(items)}}};\n"


def struct(kind: str, name: str, fields: Mapping[str, Any]) -> str:
    """Return `static const kind name = {.field = value, ...};`, one field per line."""
    lines = "".join(f"    .{key} = {value},\n" for key, value in fields.items())
    return f"static const {kind} {name} = {{\n{lines}}};\n"


def integer(value: int) -> str:
    """Return a C constant of type int; the lowest int is no single token in C."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def rows(items: Iterable[str]) -> str:
    """Join items with commas, in lines of at most WIDTH characters."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line]) + "\n"


def real(value: float) -> str:
    """Format a float32 number exactly: nine digits are enough. Decimal, because C++ before 2017 has no hexadecimal floats."""
    return f"{_pointed(f'{value:.9g}')}f"


def double(value: float) -> str:
    """Format a float64 number exactly."""
    return _pointed(repr(float(value)))


def _pointed(digits: str) -> str:
    return digits if set(digits) & set(".e") else f"{digits}.0"


def string(text: str) -> str:
    """Return a C string literal with the text's UTF-8 bytes."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{plain}"'


def shape(tensor: TensorInfo) -> str:
    """Return a tensor's shape in the C code: channels last."""
    return " x ".join(str(tensor.shape[axis]) for axis in tensor.axes.memory)


def channels_last(tensor: TensorInfo) -> bool:
    """Whether the axes have another order in C than in Python."""
    return tensor.axes.memory != tuple(range(len(tensor.shape)))
