"""One ATen call of a traced program: its arguments, and the methods with which a translation emits the result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from sparsemod.errors import Unsupported
from sparsemod.graph.operators import Operator
from sparsemod.graph.suggestions import SUGGESTIONS
from sparsemod.graph.trace import call_place
from sparsemod.kinds import KINDS, kind_of
from sparsemod.layouts import RANKS, TensorLayout, default_layout, layout


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the network's input; `key` is its name in the module, None for a computed tensor.

    `transposed` is the name of the matrix whose transpose this tensor is.
    """

    tensor: Tensor
    key: str | None = None
    transposed: str | None = None


@dataclass(frozen=True, eq=False)
class Moved:
    """Elements of a tensor in another arrangement: `index` (without batch) holds their numbers in the array's order.

    It becomes a copy when an operator needs these elements as a tensor. `lazy`: further views of it stay views. `batch` is the place of
    the batch axis, which a view may have moved.
    """

    source: str
    index: NDArray[np.int64]
    lazy: bool = False
    batch: int = 0


def captured_kinds() -> tuple[str, ...]:
    """Return the kinds that a captured graph may contain."""
    return tuple(name for name in KINDS.names() if KINDS.get(name).captured)


class Walker(Protocol):
    """The part of the walk over the exported program that translations may use. `batch`: the samples of the example."""

    batch: int
    layer_weights: frozenset[str]
    inputs: tuple[str, ...]
    own_tensors: frozenset[str]
    operators: list[Operator]
    shapes: dict[str, tuple[int, ...]]
    layouts: dict[str, str]
    state: dict[str, Tensor]
    names: set[str]
    values: dict[Node, Any]
    storage: dict[Node, Node]
    skipped: dict[Node, Node]
    normalized: dict[Node, tuple[str, int]]

    def placed(self, call: "Call", node: Node) -> str:
        """Copy the elements of a node's view to a tensor, make it the node's value, and return its name."""
        ...


class Call:
    """One ATen call: its arguments by name, and methods to emit its result."""

    def __init__(self, walker: Walker, node: Node) -> None:
        self.walker, self.node = walker, node
        schema = getattr(node.target, "_schema", None)
        self.arguments: dict[str, Any] = dict(node.kwargs)
        if schema is not None:
            for place, argument in enumerate(schema.arguments):
                if place < len(node.args):
                    self.arguments[argument.name] = node.args[place]
                elif argument.has_default_value():
                    self.arguments.setdefault(argument.name, argument.default_value)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        self.path = str(stack[-1][0]) if stack else self._path_of_weight()

    def _path_of_weight(self) -> str:
        """Return the path of the layer whose weight the call reads, for a module that does not say which layer runs; else ""."""
        constants = [self.walker.values.get(node) for node in self.node.all_input_nodes]
        keys = [c.key or c.transposed for c in constants if isinstance(c, Constant)]
        return next((key.rpartition(".")[0] for key in keys if key), "")

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def operator(self) -> str:
        """The ATen operator's short name."""
        text = str(self.node.target).removeprefix("aten.")
        return text.rsplit(".", 1)[0]

    def unsupported(self, hint: str = "") -> Unsupported:
        """Return the error that names this operator and its layer, with a spelling that works where there is one."""
        hint = hint or SUGGESTIONS.get(self.operator.strip("_"), "")
        place = "" if self._is_leaf() else call_place(self.node)
        return Unsupported(
            self.operator, self.path or "forward", "capture", captured_kinds(), hint, place=place
        )

    def tensor(self, name: str) -> str:
        """Return the tensor passed as argument `name`. Raises Unsupported when it is a constant."""
        return self.tensor_of(self.arguments[name])

    def tensor_of(self, argument: Any) -> str:
        """Return the tensor of a program node. Raises Unsupported when it does not depend on the input."""
        value = self.walker.values[argument] if isinstance(argument, Node) else argument
        if isinstance(value, Moved) and value.batch:
            raise self.unsupported("it must keep the batch axis first")
        if isinstance(value, Moved) and value.lazy and value.index.ndim in RANKS:
            return self.walker.placed(self, argument)
        if isinstance(value, Moved):
            raise self.unsupported(
                f"its input has shape {value.index.shape}; samples have at most three axes"
            )
        if value is None:
            raise self.unsupported("it reads a second result, such as the places of the largest values")
        if not isinstance(value, str):
            raise self.unsupported("one of its operands is a constant")
        return value

    def source(self, given: Any) -> tuple[str, NDArray[np.int64]]:
        """Return the tensor whose elements an argument holds, and the number of each element, with the argument's axes."""
        value = self.walker.values[given] if isinstance(given, Node) else given
        if isinstance(value, Moved):
            if value.batch:
                raise self.unsupported("it must keep the batch axis first")
            return value.source, value.index
        name = self.tensor_of(given)
        shape = self.walker.shapes[name]
        return name, np.arange(math.prod(shape)).reshape(shape)

    def unary(self, name: str, kind: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Append an elementwise operator of argument `name`; of a view it works on the view's source, and the result is the same view."""
        argument = self.arguments[name]
        value = self.walker.values[argument] if isinstance(argument, Node) else argument
        if (
            not isinstance(value, Moved)
            or not value.lazy
            or value.index.size != math.prod(self.walker.shapes[value.source])
        ):
            return self.emit(kind, (self.tensor(name),), attributes)
        made = self.emit(kind, (value.source,), attributes, shape=self.walker.shapes[value.source])
        self.walker.values[self.node] = Moved(made, value.index, True, value.batch)
        return made

    def is_moved(self, name: str) -> bool:
        """Whether an argument is a view with more axes than tensors have."""
        return isinstance(self.walker.values.get(self.arguments[name]), Moved)

    def relayout(self, name: str, wanted: str) -> None:
        """Give the tensor passed as argument `name` the layout `wanted`, by a copy, when its axes are the same but mean something else.

        An input of the network keeps its layout, which the user stated.
        """
        tensor = self.tensor(name)
        if tensor not in self.walker.inputs:
            self.arguments[name] = self.with_layout(tensor, wanted)

    def channels_first(self, name: str) -> None:
        """Give a sequence passed as argument `name` the layout of channels first, which the ATen operator takes for granted."""
        if self.layout(name).channel != 0:
            self.relayout(name, "channels-length")

    def with_layout(self, tensor: str, wanted: str) -> str:
        """Return the tensor with the layout `wanted` of the same number of axes, by a copy where it has another one."""
        shape = self.walker.shapes[tensor]
        if self.layout_of(tensor).name == wanted:
            return tensor
        attributes = {"sizes": (math.prod(shape),), "strides": (1,), "offset": 0}
        return self.emit("move", (tensor,), attributes, shape=shape, layout=wanted, named=False)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape, without batch, of the tensor passed as argument `name`."""
        return self.walker.shapes[self.tensor(name)]

    def layout(self, name: str) -> TensorLayout:
        """Return the layout of the tensor passed as argument `name`."""
        return self.layout_of(self.tensor(name))

    def layout_of(self, tensor: str) -> TensorLayout:
        """Return the layout of a tensor of the graph."""
        return layout(self.walker.layouts.get(tensor), self.walker.shapes[tensor])

    def constant(self, name: str) -> Constant | None:
        """Return the constant passed as argument `name`, None when it is absent. Raises Unsupported when it depends on the input."""
        argument = self.arguments.get(name)
        if argument is None:
            return None
        value = self.walker.values[argument] if isinstance(argument, Node) else None
        if not isinstance(value, Constant):
            raise self.unsupported(f"its {name} depends on the input")
        return value

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result, without batch."""
        return self._without_batch(self.node.meta["val"])

    def _without_batch(self, value: Any) -> tuple[int, ...]:
        if isinstance(value, tuple | list):
            value = value[0]
        source = next(n for n in self.node.all_input_nodes if isinstance(self.walker.values[n], str | Moved))
        input_tensor = source.meta["val"]
        if value.ndim < 2 or value.shape[0] != input_tensor.shape[0]:
            raise self.unsupported("it must keep the batch axis first and unchanged")
        return tuple(int(size) for size in value.shape[1:])

    def alias(self, name: str, *, copy: bool = False) -> None:
        """Make the tensor passed as argument `name` this call's result; with `copy`, the result has separate memory."""
        argument = self.arguments[name]
        self.walker.values[self.node] = (
            self.walker.values[argument] if self.is_moved(name) else self.tensor(name)
        )
        if not copy:
            self.walker.storage[self.node] = self.walker.storage[argument]

    def emit(
        self, kind: str, inputs: tuple[str, ...], attributes: Mapping[str, Any] | None = None,
        weight: Constant | None = None, bias: Constant | None = None, shape: tuple[int, ...] | None = None,
        layout: str | None = "as input", named: bool = True, label: str | None = None, **more: Constant,
    ) -> str:  # fmt: skip
        """Append an operator and make its output this call's result. `more` are further constants, stored as attributes.

        `shape`: the output's shape, when it differs from ATen's. `layout`: the output's layout; None for the default layout of its
        shape. When absent, the output takes the first input's layout if the number of axes is equal. `named`: the operator may
        take the layer's name, to which `label` adds a part of the layer.

        Raises Unsupported when the kind needs positions and channels first, and an input lacks them.
        """
        for tensor in inputs:
            self._check_input(kind, tensor)
        name = self._name(kind if label is None else label, named and label is None)
        keys = {role: self._store_tensor(name, role, constant) for role, constant in more.items()}
        self.walker.operators.append(
            Operator(
                name, kind, inputs, name, {**(attributes or {}), **keys},
                None if weight is None else self._store_tensor(name, "weight", weight),
                None if bias is None else self._store_tensor(name, "bias", bias),
            )
        )  # fmt: skip
        output_shape = self.result_shape if shape is None else shape
        self.walker.shapes[name] = output_shape
        if layout == "as input":
            source = self.layout_of(inputs[0])
            layout = source.name if source.rank == len(output_shape) else None
        if layout is not None and layout != default_layout(output_shape):
            self.walker.layouts[name] = layout
        self.walker.values[self.node] = name
        return name

    def parameter(self, weight: Constant) -> str | None:
        """Return the weight's name in the module when it is a parameter of a conv, linear or recurrent layer."""
        return weight.key if weight.key in self.walker.layer_weights else None

    def _check_input(self, kind: str, tensor: str) -> None:
        shape, axes = self.walker.shapes[tensor], self.layout_of(tensor)
        if not kind_of(kind, self.path, "capture").positions:
            return
        if not axes.positions:
            raise self.unsupported(f"its input has shape {shape}, not (C, L) or (C, H, W)")
        if axes.channel != 0:
            raise self.unsupported(f"its input has layout {axes.name}: transpose it to channels first")

    def _name(self, kind: str, named: bool) -> str:
        # A layer's operator is named by the layer's path. A function called in a container's forward gets the path and the kind.
        candidates = [self.path] if self.path and named and self._is_leaf() else []
        candidates.append(f"{self.path}.{kind}" if self.path else kind)
        name = next((c for c in candidates if c not in self.walker.names), None)
        count = 2
        while name is None:
            numbered = f"{candidates[-1]}_{count}"
            name = None if numbered in self.walker.names else numbered
            count += 1
        self.walker.names.add(name)
        return name

    def _is_leaf(self) -> bool:
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        return str(stack[-1][1]).startswith("torch.nn.modules.") if stack else False

    def _store_tensor(self, name: str, role: str, constant: Constant) -> str:
        key = constant.key or f"{name}.{role}"
        # A computed tensor must not replace a parameter of the same name.
        while constant.key is None and (key in self.walker.state or key in self.walker.own_tensors):
            key += "_"
        if key not in self.walker.state:
            self.walker.state[key] = constant.tensor.detach().to("cpu", torch.float32, copy=True)
        return key
