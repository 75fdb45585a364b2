"""An operator in one file, y = |x| (torch.copysign(x, 1)): its kind with traits, and a rule for each of its stages."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsemod.arena.memory import MEMORY, over_input
from sparsemod.export.c.layers import EMITTERS, Emitted
from sparsemod.export.onnx.layers import RULES as ONNX
from sparsemod.graph.aten import aten
from sparsemod.graph.execute import FLOAT
from sparsemod.kinds import KINDS, Kind
from sparsemod.measure.work import FEATURES, Loops
from sparsemod.quantization.arithmetic import rescale_multipliers
from sparsemod.quantization.kernels.base import KERNELS, clamp_to, rounded, scaled
from sparsemod.quantization.layers import LAYERS, Layer
from sparsemod.quantization.static import RULES

KINDS.add("absolute", Kind("absolute", "absolute value", elementwise=True))
aten("copysign.Scalar", kinds=("absolute",))(lambda call: call.emit("absolute", (call.tensor("self"),)))
FLOAT.add("absolute", lambda graph, operator, inputs: inputs[0].abs())
MEMORY.add("absolute", over_input)
# Counted like the most similar calibrated kernel.
FEATURES.add("absolute", lambda tensors, it: Loops("clamp", {"elements": float(tensors.elements(it.output))}))
ONNX.add("absolute", lambda graph, it: graph.node("Abs", [graph.real(it.inputs[0])], f"{it.output}/r"))


@LAYERS.register("absolute")
@dataclass(frozen=True, eq=False)
class Absolute(Layer):
    kind: ClassVar[str] = "absolute"
    multiplier: int = 0
    shift: int = 1

    def shape(self, inputs):
        return self.one_input(inputs)


@RULES.register("absolute")
def quantize(build, operator):
    (source,) = build.sources(operator)
    output = build.tensors[operator.output] = build.spanned(operator.output, source.scale / 2.0**19)
    (multiplier,), shift = rescale_multipliers((source.scale / output.scale,))
    return Absolute(**build.base(operator), multiplier=multiplier, shift=shift)


@KERNELS.register("absolute")
def run(layer, inputs, points, zero_out):
    acc = rounded(np.abs(scaled(inputs[0], points[0], layer.multiplier)), layer.shift)
    return clamp_to(acc, -128, 127, zero_out)


@EMITTERS.register("absolute")
def emit(context, layer):
    zero, output, size = context.zero(layer.inputs[0]), context.zero(layer.output), context.size(layer.output)
    value = f"((d < 0 ? -d : d) * {layer.multiplier} + {1 << (layer.shift - 1)}) >> {layer.shift}"
    body = f"const int32_t d = ({{in0}})[i] - ({zero}); ({{out}})[i] = nn_clamped(({value}) + ({output}), -128, 127);"
    return Emitted([f"for (int32_t i = 0; i < {size}; ++i) {{{{ {body} }}}}"], (), "absolute value")
