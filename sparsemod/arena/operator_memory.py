"""Memory rules of functions, pairs, copies and normalizations."""

from sparsemod.arena.memory import MEMORY, apart, over_input

MEMORY.rules("table", "prelu", "softmax", "l2_normalize", "log_softmax", "group_norm", "offset")(over_input)
# An input of the output's size is not repeated: each of its elements is read before the result replaces it.
MEMORY.rules("sum", "subtract", "multiply", "maximum", "minimum")(over_input)
MEMORY.rules("move", "take", "interpolate", "matmul")(apart)
