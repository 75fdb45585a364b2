"""The data: an operator and a graph of operators in execution order.

| kind | inputs | attributes |
| --- | --- | --- |
| conv | (C, H, W) | kernel, stride, dilation (each rows, columns), padding (top, bottom, left, right; zeros), groups, parameter |
| linear | (F,) | parameter |
| batch_norm | (C, H, W) or (F,) | mean, variance (keys into the graph's state), epsilon |
| relu, relu6 | any | |
| max_pool | (C, H, W) | kernel, stride, padding (top, bottom, left, right), dilation, ceil_mode |
| avg_pool | (C, H, W) | kernel, stride, padding (top, bottom, left, right), ceil_mode, count_include_pad |
| global_avg_pool | (C, H, W) | keep: whether the output is (C, 1, 1) or (C,) |
| add | two of equal shape | |
| concat | two or more | axis, counted without batch (0 = channels) |
| flatten | any | |

`parameter` is the name in the module of the `nn.Conv2d` or `nn.Linear` weight that an operator's weight comes from, None for one that was
computed or is no such layer's: pruning methods know only the former. In a deployed graph conv, linear and add also have `activation`: None, "relu" or "relu6".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

KINDS = (
    "conv", "linear", "batch_norm", "relu", "relu6", "max_pool", "avg_pool", "global_avg_pool", "add", "concat", "flatten",
)  # fmt: skip
"""Every kind of operator that a graph can hold."""

ANY_RANK = (1, 2, 3)
RANKS: Mapping[str, tuple[int, ...]] = {
    "conv": (3,), "linear": (1,), "batch_norm": (1, 3), "pad": (3,),
    "max_pool": (3,), "avg_pool": (3,), "global_avg_pool": (3,),
}  # fmt: skip
"""Ranks (without the batch axis) of a kind's inputs; other kinds take any. `pad` exists only during a capture."""

LAYOUTS: Mapping[int, str] = {1: "(F,)", 2: "(C, L)", 3: "(C, H, W)"}


@dataclass(frozen=True)
class Operator:
    """One step. `name` is unique: the layer's path in the module, for functions called in `forward` the caller's path and the kind.

    `inputs` and `output` name tensors of the graph; `weight` and `bias` are keys into its state, None where there is none.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weight: str | None = None
    bias: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key into the graph's state that this operator uses."""
        named = (self.weight, self.bias, self.attributes.get("mean"), self.attributes.get("variance"))
        return tuple(key for key in named if key is not None)


@dataclass(frozen=True, eq=False)
class Graph:
    """`operators` in execution order; `shapes` of every tensor for one sample (no batch axis); `state` holds detached copies on the CPU."""

    input: str
    output: str
    operators: tuple[Operator, ...]
    shapes: Mapping[str, tuple[int, ...]]
    state: Mapping[str, Tensor]

    def elements(self, name: str) -> int:
        """Number of elements of a tensor, for one sample."""
        return math.prod(self.shapes[name])

    def users(self) -> dict[str, list[Operator]]:
        """Tensor -> the operators that read it, in order (one that reads it twice is listed once); empty for unread ones."""
        found: dict[str, list[Operator]] = {self.input: []}
        for operator in self.operators:
            found.setdefault(operator.output, [])
            for name in dict.fromkeys(operator.inputs):
                found[name].append(operator)
        return found

    def producers(self) -> dict[str, Operator]:
        """Tensor -> the operator that makes it; the graph's input has none."""
        return {operator.output: operator for operator in self.operators}
