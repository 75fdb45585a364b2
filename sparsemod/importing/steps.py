"""A model file as steps: what every reader makes, and what becomes a torch module or an integer network.

Shapes are those of one sample, without a batch axis, channels first: (F,), (C, L) or (C, H, W). A step is a kind, its inputs, one output
and attributes:

| kind | attributes |
| --- | --- |
| conv | weight (O, I / groups, rows, columns), bias, stride, padding (top, bottom, left, right), dilation, groups, clamp |
| conv_transpose | weight (I, O / groups, rows, columns), bias, stride, padding, output_padding, dilation, groups |
| linear | weight (O, I), bias, clamp |
| batch_norm | weight, bias, mean, variance, epsilon |
| norm | operator: layer, instance or group; weight, bias, epsilon, groups |
| recurrent | cell: gru or lstm; directions: input, hidden, input_bias, hidden_bias of each; backwards; last |
| matmul | - |
| function | function: nested tuples of `sparsemod.graph.functions` |
| prelu | slopes (C,) |
| constant | operator, value (an array), reverse: whether the constant is the first operand |
| pair | operator: add, subtract, multiply, divide, maximum, minimum; clamp |
| max_pool, avg_pool | kernel, stride, padding, dilation, ceil, count_padding |
| mean | global average pooling; keep |
| reduce | operator: mean, sum, max; axes, keep |
| concat | axis |
| view | operator and arguments of `sparsemod.importing.views` |
| softmax, log_softmax, l2_normalize | axis |
| resize | size, mode (nearest, linear), aligned |
| lookup | table: 256 int8 numbers |
| quantize | the output has a scale, the input may have none |

Windows of sequences have one row. `clamp` is (lowest, highest) of the real result, each None without a bound. In an int8 file weights are
int8 arrays with `weight_scale` (O,), and `bias` is int32 with the scale input scale x weight_scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsemod.layouts import Shape

INPUT = "input"


@dataclass(frozen=True)
class Scale:
    """An int8 tensor: real value = (q - zero_point) x scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Step:
    """One operator of a model; `name` is unique, `title` is the file's own name of the operator."""

    kind: str
    name: str
    title: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """A model in execution order. `scales` of the int8 tensors; empty for a float model.

    `metadata` is text by key, as the file holds it.
    """

    input: str
    output: str
    steps: tuple[Step, ...]
    shapes: Mapping[str, Shape]
    scales: Mapping[str, Scale] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def quantized(self) -> bool:
        """Whether the model is an int8 model."""
        return bool(self.scales)

    def users(self) -> dict[str, list[Step]]:
        """Return tensor -> the steps that read it."""
        found: dict[str, list[Step]] = {self.input: []}
        for step in self.steps:
            found.setdefault(step.output, [])
            for name in dict.fromkeys(step.inputs):
                found[name].append(step)
        return found

    def needed(self) -> "Steps":
        """Return the model without the steps that its output does not need."""
        from dataclasses import replace

        wanted, kept = {self.output}, []
        for step in reversed(self.steps):
            if step.output in wanted:
                kept.append(step)
                wanted.update(step.inputs)
        return replace(self, steps=tuple(kept[::-1]))
