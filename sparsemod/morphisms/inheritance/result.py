"""The weights that a child inherits from its parent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemod.records import DataInfo, Value

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Inheritance:
    """The initial weights of a child.

    `state_dict` loads strictly into its module. `preserved`: equal outputs of parent and child in evaluation
    mode. `notes`: the changes, layer by layer.
    """

    state_dict: "dict[str, Tensor]"
    preserved: bool
    notes: tuple[str, ...]


Inherit = Callable[
    [Mapping[str, Value], "Mapping[str, Tensor]", Mapping[str, Value], "nn.Module", DataInfo], Inheritance
]
"""(parent's parameters, parent's state, child's parameters, child's module, data) -> the child's inheritance."""
