"""ATen operators that return their input; their translations emit no operator."""

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call


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
    if call.node.meta["val"].dtype != call.node.all_input_nodes[0].meta["val"].dtype:
        raise call.unsupported(f"conversion to {call.node.meta['val'].dtype}")
    call.alias("self", copy=True)
