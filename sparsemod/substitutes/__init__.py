"""Substitute convolutions: smaller layers in place of a network's convolutions, their counts and their budgets.

Importing this room loads no torch; `sparsemod.substitutes.substitution` does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsemod.substitutes.base import (
    NONE,
    SUBSTITUTES,
    ConvShape,
    Making,
    Setting,
    Substitute,
    check_choice,
    create,
)

if TYPE_CHECKING:
    from torch import nn

    from sparsemod.substitutes.substitution import Place

__all__ = [
    "NONE", "SUBSTITUTES", "ConvShape", "Making", "Setting", "Substitute", "check_choice", "create", "substitute",
]  # fmt: skip


def substitute(
    module: "nn.Module", name: str | Substitute, skip: Sequence[str] | None = None
) -> "list[Place]":
    """Replace the convolutions of `module` in place; see `sparsemod.substitutes.substitution.substitute`."""
    from sparsemod.substitutes import substitution

    return substitution.substitute(module, name, skip)
