"""Loop counts of the kernels of recurrent layers and of reductions over valid steps. Every step counts as valid."""

from sparsemod.arena import Node
from sparsemod.layouts import Tensors
from sparsemod.measure.work import FEATURES, Loops

GATES = {"gru": 3, "lstm": 4}


@FEATURES.rules("gru", "lstm")
def recurrent(tensors: Tensors, node: Node) -> Loops:
    """Count the words and the single bytes of the products, the units and the steps."""
    steps, features = tensors.shapes[node.inputs[0]]
    units = int(node.attributes["units"])
    rows = steps * GATES[node.kind] * units
    return Loops(
        node.kind,
        {
            "words": float(rows * (features // 4 + units // 4)),
            "tails": float(rows * (features % 4 + units % 4)),
            "units": float(steps * units),
            "steps": float(steps),
        },
    )


@FEATURES.register("last_step")
def last_step(tensors: Tensors, node: Node) -> Loops:
    """Count one run of bytes, as for a move; no calibration network has this layer."""
    size = float(tensors.elements(node.output))
    return Loops("move", {"runs": 1.0, "ends": 0.0, "whole_runs": 1.0, "whole_bytes": size, "bytes": 0.0})


@FEATURES.register("mean_steps")
def mean_steps(tensors: Tensors, node: Node) -> Loops:
    """Count every element once, as for a mean over all positions; no calibration network has this layer."""
    elements, outputs = tensors.elements(node.inputs[0]), tensors.elements(node.output)
    return Loops("global_avg_pool", {"elements": float(elements), "outputs": float(outputs)})
