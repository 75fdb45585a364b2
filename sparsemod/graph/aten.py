"""Translation of ATen operators to graph operators: the registry, and helpers for the translations in `sparsemod.graph.rules`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparsemod.errors import Unsupported
from sparsemod.graph.call import Call
from sparsemod.kinds import Stage

Translate = Callable[[Call], None]


@dataclass(frozen=True)
class Translation:
    """The translation of one ATen operator.

    `origin` is the function; `kinds` are the kinds of operators that it may emit (none for an alias)."""

    origin: Translate
    kinds: tuple[str, ...] = ()


TRANSLATIONS: Stage[Translation] = Stage("capture", builtin=("sparsemod.graph.rules @aten",))
"""Translations by ATen operator ("aten.conv2d.default")."""


def aten(*names: str, kinds: tuple[str, ...] = ()) -> Callable[[Translate], Translate]:
    """Decorator that registers a function as the translation of these ATen operators ("conv2d.default") to operators of these kinds.

    The name of an operator of sparsemod's own starts with "sparsemod."."""

    def file(translate: Translate) -> Translate:
        for name in names:
            full = name if name.startswith("sparsemod.") else f"aten.{name}"
            TRANSLATIONS.add(full, Translation(translate, kinds))
        return translate

    return file


def captured_from(kind: str) -> tuple[str, ...]:
    """Return the ATen operators that may become operators of this kind. Raises Unsupported when capture never emits the kind."""
    operators = tuple(name for name in TRANSLATIONS.names() if kind in TRANSLATIONS.get(name).kinds)
    if not operators:
        raise Unsupported(kind, "any", TRANSLATIONS.title, hint="no ATen operator is translated to it")
    return operators


def pair(value: Any, positions: int = 2, fill: int = 1) -> tuple[int, int]:
    """Convert ATen's one or two numbers for `positions` axes to (rows, columns); the rows of a sequence are `fill`."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (fill if positions == 1 else int(numbers[0]), int(numbers[-1]))


def four(value: Any, positions: int = 2) -> tuple[int, int, int, int]:
    """Convert ATen's symmetric padding to (top, bottom, left, right)."""
    rows, columns = pair(value, positions, fill=0)
    return (rows, rows, columns, columns)


def positions(call: Call, name: str) -> int:
    """Return the number of position axes of a tensor, 1 or 2.

    Raises Unsupported for a vector, for a layout whose channels do not come first, for an image as input of an operator on
    sequences (`max_pool1d`), and for the reverse: torch would treat it as a sample without a batch axis.
    """
    call.channels_first(name)
    layout, shape = call.layout(name), call.shape(name)
    required = {"1d": 1, "2d": 2}.get(next((end for end in ("1d", "2d") if end in call.operator), ""))
    if not layout.positions or required not in (None, len(layout.positions)):
        forms = {1: "(C, L)", 2: "(C, H, W)", None: "(C, L) or (C, H, W)"}[required]
        raise call.unsupported(f"its input has shape {shape}, not {forms}")
    if layout.channel != 0:
        raise call.unsupported(f"its input has layout {layout.name}: transpose it to channels first")
    return len(layout.positions)


def first_of_several(call: Call) -> None:
    """Keep the first tensor of an ATen operator that returns several (indices, statistics)."""
    if isinstance(call.node.meta["val"], tuple | list):
        call.walker.values[call.node] = (
            call.walker.values[call.node],
            *[None] * (len(call.node.meta["val"]) - 1),
        )
