"""The data model: an operator, and a graph of operators in execution order.

| kind | inputs | attributes |
| --- | --- | --- |
| conv | with positions | kernel, stride, dilation (each rows, columns), padding (top, bottom, left, right; zeros), groups, parameter |
| linear | a vector | parameter |
| batch_norm | any, channels first | mean, variance (keys into the graph's state), epsilon |
| relu, relu6 | any | |
| max_pool | with positions | kernel, stride, padding (top, bottom, left, right), dilation, ceil_mode |
| avg_pool | with positions | kernel, stride, padding (top, bottom, left, right), ceil_mode, count_include_pad |
| global_avg_pool | with positions | keep: whether the output keeps the position axes with size 1, or is a vector |
| add | two of equal shape | |
| concat | two or more | axis, counted without batch |
| flatten | any | |
| reshape | any | shape |
| table | any | function: nested tuples, see `sparsemod.graph.functions` |
| prelu | channels first | |
| affine | any | uniform: (scale, shift) of numbers, None for constants of each channel |
| sum, subtract, multiply, maximum, minimum | two of equal rank | |
| move | any | sizes, strides, offset: see `sparsemod.patterns` |
| take | any | places: for each axis the input's places, () for all; -1 is outside; fill: zero, lowest |
| interpolate | with positions | rows, rows_next, rows_part (1024ths), the same of columns; aligned |
| softmax, log_softmax | any | axis: that of the channels |
| group_norm | any | axis: that of the channels; groups; whole: a group spans all positions; epsilon |
| matmul | two of any | products, rows, columns, inner; first and second: sizes, strides, offset (see `sparsemod.patterns`); factor |
| offset | any | |
| l2_normalize | any | axis |
| gru, lstm | (steps, features) | units, steps, reverse, last: whether the output is the last step alone, lengths, state_bias (a key), parameters |
| last_step, mean_steps | (steps, features) | lengths |
| band_energies | (channels, length), the network's input | window, hop, rate, bands, low, high, mel, coefficients, floor |
| window_statistics | (channels, length), the network's input | window, hop |

`sparsemod.kinds` defines the kinds and their traits, `sparsemod.layouts` the layouts of tensors. A sequence is processed as an image
of height 1: its windows have one row.

`parameter` is the module's name of the convolution or linear weight from which an operator's weight comes. It is None for a computed
weight and for one that belongs to no such layer; pruning methods only see weights with a name. `parameters` are the two names of a
recurrent layer's weights, of the input and of the state. In a deployed graph conv, linear and add also have `activation`: None,
"relu" or "relu6". The weight and the bias of band_energies and window_statistics are a gain and an offset of each feature.

An operator whose attribute `lengths` is not 0 reads the number of valid steps of each sample as a second input, which is no tensor
of the graph: of its own input max(1, number // `lengths`) steps are valid. The weight of gru and lstm is (gates x units, features + units): the matrix of the input beside that of the state, with
the gates in torch's order. Its `bias` is that of the input.
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
    """One step. `name` is unique: the layer's path in the module, or for functions called in `forward` the caller's path and the kind.

    `inputs` and `output` name tensors of the graph; `weight` and `bias` are keys into its state, None when absent.
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
        """Return the operator's kind. Raises Unsupported for an unregistered kind."""
        return kind_of(self.kind, self.name, "the graph")

    @property
    def window(self) -> Window:
        """Return the operator's window; a single position for kinds without a window."""
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
        """Return every key into the graph's state that this operator uses."""
        more = (self.attributes.get(name) for name in ("mean", "variance", "state_bias"))
        possible = (self.weight, self.bias, *more)
        return tuple(key for key in possible if key is not None)


@dataclass(frozen=True, eq=False)
class Graph:
    """`operators` in execution order; `shapes` of every tensor for one sample (no batch axis); `state` holds detached copies on the CPU.

    `layouts` holds the layouts of tensors that differ from the default of their shape. A network with several inputs has
    `other_inputs`, whose names are those of the arguments of `forward`; one with several outputs has `other_outputs`, and in
    `output_names` the names of all outputs.
    """

    input: str
    output: str
    operators: tuple[Operator, ...]
    shapes: Mapping[str, tuple[int, ...]]
    state: Mapping[str, Tensor]
    layouts: Mapping[str, str] = field(default_factory=dict)
    other_inputs: tuple[str, ...] = ()
    other_outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the tensors of all inputs, in order."""
        return self.input, *self.other_inputs

    @property
    def outputs(self) -> dict[str, str]:
        """Return the tensors of all outputs by the outputs' names, in order."""
        tensors = self.output, *self.other_outputs
        return dict(zip(self.output_names or ("output",), tensors, strict=True))

    @property
    def several(self) -> bool:
        """Whether the network has several inputs or outputs."""
        return bool(self.other_inputs or self.other_outputs)

    @cached_property
    def tensors(self) -> Tensors:
        """Return the shapes and layouts of the graph's tensors."""
        return Tensors(self.shapes, self.layouts, self._wide())

    def _wide(self) -> frozenset[str]:
        """Return the tensors of 16-bit elements: inputs of operators that read such elements, and the views between."""
        wide = {name for o in self.operators if o.traits.reads_wide for name in o.inputs}
        for operator in reversed(self.operators):
            if operator.output in wide:
                wide.update(operator.inputs)
        return frozenset(wide)

    def layout(self, name: str) -> TensorLayout:
        """Return a tensor's layout."""
        return self.tensors.layout(name)

    def image(self, name: str) -> tuple[int, int, int]:
        """Return a tensor's shape for the kernels: (channels, rows, columns)."""
        return self.tensors.image(name)

    def elements(self, name: str) -> int:
        """Return the number of a tensor's elements, for one sample."""
        return self.tensors.elements(name)

    @property
    def uses_lengths(self) -> bool:
        """Whether an operator reads the number of valid steps of each sample."""
        return any(operator.attributes.get("lengths") for operator in self.operators)

    def users(self) -> dict[str, list[Operator]]:
        """Return tensor -> the operators that read it, in order; an operator that reads it twice is listed once."""
        readers: dict[str, list[Operator]] = {name: [] for name in self.inputs}
        for operator in self.operators:
            readers.setdefault(operator.output, [])
            for name in dict.fromkeys(operator.inputs):
                readers[name].append(operator)
        return readers

    def producers(self) -> dict[str, Operator]:
        """Return tensor -> the operator that computes it, for all tensors but the graph's inputs."""
        return {operator.output: operator for operator in self.operators}


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])
