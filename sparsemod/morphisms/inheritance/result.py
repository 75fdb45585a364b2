"""The weights that a child inherits from its parent."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Inheritance:
    """The initial weights of a child.

    `state_dict` loads strictly into its module. `preserved`: equal outputs of parent and child in evaluation
    mode. `notes`: the changes, layer by layer.
    """

    state_dict: "dict[str, Tensor]"
    preserved: bool
    notes: tuple[str, ...]
