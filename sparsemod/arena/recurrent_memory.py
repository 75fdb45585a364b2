"""Memory rules of recurrent layers and of reductions over valid steps."""

from sparsemod.arena.memory import MEMORY, Memory, Node, apart
from sparsemod.layouts import Tensors

MEMORY.rules("last_step", "mean_steps")(apart)

UNIT_BYTES = 4
"""Bytes of the state of a recurrent unit in the kernels."""


@MEMORY.rules("gru", "lstm")
def with_state(node: Node, tensors: Tensors) -> Memory:
    """Rule for a recurrent layer: its state lives while its kernel runs."""
    return Memory(UNIT_BYTES * int(node.attributes["units"]))
