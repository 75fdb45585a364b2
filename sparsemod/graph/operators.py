"""The data: an operator and a graph of operators in execution order.

| kind | inputs | attributes |
| --- | --- | --- |
| conv | with positions | kernel, stride, dilation (each rows, columns), padding (top, bottom, left, right; zeros), groups, parameter |
| linear | a vector | parameter |
| batch_norm | any, channels first | mean, variance (keys into the graph's state), epsilon |
| relu, relu6 | any | |
| max_pool | with positions | kernel, stride, padding (top, bottom, left, right), dilation, ceil_mode |
| avg_pool | with positions | kernel, stride, padding (top, bottom, left, right), ceil_mode, count_include_pad |
| global_avg_pool | with positions | keep: whether the output keeps the axes of the positions, of size 1, or is a vector |
| add | two of equal shape | |
| concat | two or more | axis, counted without batch |
| flatten | any | |
| reshape | any | shape |

The kinds and their traits are in `sparsemod.kinds`, the layouts of tensors in `sparsemod.layouts`. A sequence is worked on as an image of
height 1: its windows have one row.

`parameter` is the name in the module of the convolution's or linear layer's weight that an operator's weight comes from, None for one that was
computed or is no such layer's: pruning methods know only the former. In a deployed graph conv, linear and add also have `activation`: None, "relu" or "relu6".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from sparsemod.kinds import Kind, kind_of
from sparsemod.kinds.windows import Window
from sparsemod.layouts import TensorLayout, Tensors


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
    def traits(self) -> Kind:
        """Its kind. Raises Unsupported for one that is not registered."""
        return kind_of(self.kind, self.name, "the graph")

    @property
    def window(self) -> Window:
        """Its window; for kinds without one that of a single position."""
        a = self.attributes
        padding = tuple(a.get("padding", (0, 0, 0, 0)))
        return Window(
            kernel=_pair(a.get("kernel", (1, 1))),
            stride=_pair(a.get("stride", (1, 1))),
            padding=(padding[0], padding[1], padding[2], padding[3]),
            dilation=_pair(a.get("dilation", (1, 1))),
            groups=int(a.get("groups", 1)),
            ceil=bool(a.get("ceil_mode", False)),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key into the graph's state that this operator uses."""
        named = (self.weight, self.bias, self.attributes.get("mean"), self.attributes.get("variance"))
        return tuple(key for key in named if key is not None)


@dataclass(frozen=True, eq=False)
class Graph:
    """`operators` in execution order; `shapes` of every tensor for one sample (no batch axis); `state` holds detached copies on the CPU.

    `layouts` names the layout of tensors where it is not the default one of their shape.
    """

    input: str
    output: str
    operators: tuple[Operator, ...]
    shapes: Mapping[str, tuple[int, ...]]
    state: Mapping[str, Tensor]
    layouts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def tensors(self) -> Tensors:
        """Shapes and layouts of its tensors."""
        return Tensors(self.shapes, self.layouts)

    def layout(self, name: str) -> TensorLayout:
        """The layout of a tensor."""
        return self.tensors.layout(name)

    def image(self, name: str) -> tuple[int, int, int]:
        """A tensor as kernels see it: (channels, rows, columns)."""
        return self.tensors.image(name)

    def elements(self, name: str) -> int:
        """Number of elements of a tensor, for one sample."""
        return self.tensors.elements(name)

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


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])
