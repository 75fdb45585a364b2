"""Names and numbers as C text."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.quantization.tensor import TensorInfo

WIDTH = 100
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# What layers' arrays end in, and the functions and files of a project.
_RESERVED = re.compile(
    r"_(weights|bias|multiplier|shift|mask|gaps|part\d+)$|^[a-z0-9_]+?_(run|input|quantize|classify|h)$"
)
# Names of our own files, and targets that make and CMake have.
_TAKEN = ("main", "example", "nn", "all", "clean", "test", "install", "help", "package")


def checked_name(name: str) -> str:
    """`name` if it can begin C identifiers and file names. Raises InvalidInput."""
    if not _NAME.fullmatch(name) or name in _TAKEN or name.startswith("nn_"):
        raise InvalidInput(
            "name",
            name,
            f"a lower-case letter, then up to 39 of a-z, 0-9 and _; not {', '.join(_TAKEN)} or nn_...",
        )
    return name


def identifiers(names: Iterable[str], prefix: str) -> list[str]:
    """A C identifier for each layer's name: all different, none that the interface or a layer's arrays use."""
    used: set[str] = set()
    found = []
    for name in names:
        stem = prefix + (re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "layer")
        if _RESERVED.search(stem):
            stem += "_layer"
        made, count = stem, 2
        while made in used:
            made, count = f"{stem}_{count}", count + 1
        used.add(made)
        found.append(made)
    return found


def comment(text: str) -> str:
    """`text` as it may stand inside a C comment: printable ASCII, no end of comment."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *")


def array(kind: str, name: str, values: NDArray[Any]) -> str:
    """`static const kind name[n] = {...};`, wrapped."""
    flat = np.asarray(values).reshape(-1)
    return f"static const {kind} {name}[{len(flat)}] = {{\n{rows([integer(int(v)) for v in flat])}}};\n"


def integer(value: int) -> str:
    """A C constant of type int; the lowest one is no single token in C."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def rows(items: Iterable[str]) -> str:
    """Items with commas, in lines of at most WIDTH characters."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line]) + "\n"


def real(value: float) -> str:
    """A float32 number exactly."""
    text = float(value).hex()
    mantissa, _, exponent = text.partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def shape(tensor: TensorInfo) -> str:
    """A tensor's shape as the C code sees it: channels last."""
    return " x ".join(str(tensor.shape[axis]) for axis in tensor.axes.memory)


def channels_last(tensor: TensorInfo) -> bool:
    """Whether the axes lie in another order than in Python."""
    return tensor.axes.memory != tuple(range(len(tensor.shape)))
