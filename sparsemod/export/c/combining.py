"""C code of sums and concatenations."""

import math

from sparsemod.export.c import text
from sparsemod.export.c.layers import EMITTERS, Context, Emitted, bounds_of
from sparsemod.quantization.layers import Add, Concat


def add_constants(context: Context, layer: Add) -> str:
    """Return the struct of a sum."""
    zeros = [context.zero(name) for name in layer.inputs]
    offset = (1 << (layer.shift - 1)) - sum(z * m for z, m in zip(zeros, layer.multipliers, strict=True))
    fields = {
        "size": context.size(layer.output),
        "multiplier": f"{{{layer.multipliers[0]}, {layer.multipliers[1]}}}",
        "offset": offset,
        "shift": layer.shift,
        "zero": context.zero(layer.output),
        "low": layer.low,
        "high": layer.high,
    }
    return text.struct("nn_add_layer", context.name, fields)


@EMITTERS.register("add")
def _add(context: Context, layer: Add) -> Emitted:
    return Emitted(
        [f"nn_add(&{context.name}, {{in0}}, {{in1}}, {{out}});"],
        ("nn_add",),
        f"addition{bounds_of(layer)}",
        constants=add_constants(context, layer),
    )


@EMITTERS.register("concat")
def _concat(context: Context, layer: Concat) -> Emitted:
    """Emit one call per input; in memory the axes of an image are rows, columns, channels."""
    code = Emitted([], (), f"concatenation of {len(layer.inputs)}")
    axes = context.network.named.layout(layer.output).memory
    position = axes.index(layer.axis)

    def sizes(tensor: str) -> list[int]:
        return [context.shape(tensor)[axis] for axis in axes]

    stride, start, kernels = math.prod(sizes(layer.output)[position:]), 0, set()
    for index, tensor in enumerate(layer.inputs):
        multiplier, shift = layer.multipliers[index], layer.shifts[index]
        zero, out = context.zero(tensor), context.zero(layer.output)
        run = math.prod(sizes(tensor)[position:])
        plain = multiplier == 1 << shift and zero == out and (layer.low, layer.high) == (-128, 127)
        fields = {
            "rows": math.prod(sizes(tensor)[:position]),
            "run": run,
            "stride": stride,
            "multiplier": multiplier,
            "offset": (1 << (shift - 1)) - zero * multiplier,
            "shift": shift,
            "zero": out,
            "low": layer.low,
            "high": layer.high,
        }
        kernel, name = "nn_copy_part" if plain else "nn_rescale_part", f"{context.name}_part{index}"
        kernels.add(kernel)
        target = "{out}" if start == 0 else f"{{out}} + {start}"
        code.calls.append(f"{kernel}(&{name}, {{in{index}}}, {target});")
        code.constants += text.struct("nn_part_layer", name, fields)
        start += run
    code.kernels = tuple(sorted(kernels))
    return code
