"""Addition and activations as operators of TensorFlow Lite."""

from sparsemod.export.tflite.layers import RULES, Lowering
from sparsemod.quantization.layers import Add, Clamp


@RULES.register("add")
def _add(lowering: Lowering, layer: Add, inputs: list[int]) -> None:
    lowering.finish(layer, "ADD", inputs, lowering.schema.AddOptionsT())


@RULES.register("clamp")
def _clamp(lowering: Lowering, layer: Clamp, inputs: list[int]) -> None:
    lowering.bounds(layer, inputs[0])
