"""Keys of SpArSeMod's `config.cfg`, and the conversion of their text to parts of a spec."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparsemod.errors import InvalidInput

FLAGS = {
    "1": True,
    "yes": True,
    "true": True,
    "on": True,
    "0": False,
    "no": False,
    "false": False,
    "off": False,
}

Tree = dict[str, Any]


@dataclass(frozen=True)
class ConfigKey:
    """One key: its allowed values, its meaning (for the documentation), and the conversion to a part of a spec.

    `convert` takes the text of the file and returns the spec's keys as nested mappings; it raises
    InvalidInput with field "".
    """

    allowed: str
    meaning: str
    convert: Callable[[str], Tree]


def refuse(allowed: str) -> InvalidInput:
    """Return the error for a value that a key does not allow."""
    return InvalidInput("", None, allowed)


def nest(dotted: str, value: Any) -> Tree:
    """Return nested mappings with `value` at a dotted place."""
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return dict(value)


def whole(dotted: str, meaning: str) -> ConfigKey:
    """Return a key for a whole number at `dotted`."""
    allowed = "a whole number"

    def convert(text: str) -> Tree:
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise refuse(allowed)
        return nest(dotted, int(text))

    return ConfigKey(allowed, meaning, convert)


def text(dotted: str, meaning: str, allowed: str = "text") -> ConfigKey:
    """Return a key for text at `dotted`."""
    return ConfigKey(allowed, meaning, lambda value: nest(dotted, value))


def flag(meaning: str, on: Tree, off: Tree) -> ConfigKey:
    """Return a key that switches between two parts of a spec."""
    allowed = "on or off (also yes/no, true/false, 1/0)"

    def convert(text: str) -> Tree:
        if text.lower() not in FLAGS:
            raise refuse(allowed)
        return dict(on if FLAGS[text.lower()] else off)

    return ConfigKey(allowed, meaning, convert)
