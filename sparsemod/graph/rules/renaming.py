"""ATen operators that return their input; their translations emit no operator."""

import torch

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call, Constant


@aten("dropout.default", "dropout_.default", "feature_dropout.default", "feature_dropout_.default", "alpha_dropout.default",
      "feature_alpha_dropout.default")  # fmt: skip
def _dropout(call: Call) -> None:
    if call["train"]:
        raise call.unsupported("it is active in evaluation mode")
    call.alias("input")


@aten("detach.default", "detach_.default", "contiguous.default", "alias.default")
def _alias(call: Call) -> None:
    call.alias("self")


@aten("clone.default", "_to_copy.default", "to.dtype", "to.device", "to.dtype_layout")
def _copy(call: Call) -> None:
    before, after = call.node.all_input_nodes[0].meta["val"].dtype, call.node.meta["val"].dtype
    # The result of a comparison is zeros and ones already.
    if before != after and not (
        after.is_floating_point and (before.is_floating_point or before == torch.bool)
    ):
        raise call.unsupported(f"conversion to {call.node.meta['val'].dtype}")
    call.alias("self", copy=True)


@aten(
    "zeros_like.default",
    "ones_like.default",
    "full_like.default",
    "new_zeros.default",
    "new_ones.default",
    "new_full.default",
)
def _constant(call: Call) -> None:
    """Translate to a constant: only the shape of the input counts."""
    made = call.node.meta["val"]
    value = float(call["fill_value"]) if "full" in call.operator else float("ones" in call.operator)
    call.walker.values[call.node] = Constant(torch.full(tuple(made.shape), value, dtype=made.dtype))
