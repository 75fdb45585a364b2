"""What a child inherits from its parent."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Inheritance:
    """The weights that a child starts from: a state that its module loads strictly, whether the function is kept (equal outputs in evaluation
    mode), and what was done, a note per layer."""

    state_dict: "dict[str, Tensor]"
    preserved: bool
    notes: tuple[str, ...]
