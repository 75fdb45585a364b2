"""One ATen call of a traced program: what a translation sees of it, and the ways to answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import Node

from sparsemod.errors import Unsupported
from sparsemod.graph.operators import ANY_RANK, KINDS, LAYOUTS, RANKS, Operator
from sparsemod.graph.trace import call_place


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the network's input; `key` is its name in the module, None when it was computed.

    `transposed` is the name of the matrix that this is the transpose of.
    """

    tensor: Tensor
    key: str | None = None
    transposed: str | None = None


class Walker(Protocol):
    """What a translation may use of the walk over the exported program."""

    layer_weights: frozenset[str]
    operators: list[Operator]
    shapes: dict[str, tuple[int, ...]]
    state: dict[str, Tensor]
    names: set[str]
    values: dict[Node, Any]
    storage: dict[Node, Node]


class Call:
    """One ATen call: its arguments by name, and the ways to answer it."""

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
        self.path = str(stack[-1][0]) if stack else ""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def operator(self) -> str:
        """The ATen operator's short name."""
        text = str(self.node.target).removeprefix("aten.")
        return text.rsplit(".", 1)[0]

    def unsupported(self, hint: str = "") -> Unsupported:
        """The error that names this operator and its layer."""
        place = "" if self._is_leaf() else call_place(self.node)
        return Unsupported(self.operator, self.path or "forward", "capture", KINDS, hint, place=place)

    def tensor(self, name: str) -> str:
        """The tensor given as argument `name`. Raises Unsupported when it is a constant."""
        return self.tensor_of(self.arguments[name])

    def tensor_of(self, given: Any) -> str:
        """The tensor that a node of the program stands for. Raises Unsupported when it is none that depends on the input."""
        value = self.walker.values[given] if isinstance(given, Node) else given
        if not isinstance(value, str):
            raise self.unsupported("one of its operands is a constant")
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape without batch of the tensor given as argument `name`."""
        return self.walker.shapes[self.tensor(name)]

    def constant(self, name: str) -> Constant | None:
        """The constant given as argument `name`, None when it was left out. Raises Unsupported when it depends on the input."""
        given = self.arguments.get(name)
        if given is None:
            return None
        value = self.walker.values[given] if isinstance(given, Node) else None
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
        source = next(n for n in self.node.all_input_nodes if isinstance(self.walker.values[n], str))
        given = source.meta["val"]
        if value.ndim < 2 or value.shape[0] != given.shape[0]:
            raise self.unsupported("it must keep the batch axis first and leave it alone")
        return tuple(int(size) for size in value.shape[1:])

    def alias(self, name: str, *, copy: bool = False) -> None:
        """The result is the tensor given as argument `name`; with `copy`, in memory of its own."""
        given = self.arguments[name]
        self.walker.values[self.node] = self.tensor(name)
        if not copy:
            self.walker.storage[self.node] = self.walker.storage[given]

    def emit(
        self, kind: str, inputs: tuple[str, ...], attributes: Mapping[str, Any] | None = None,
        weight: Constant | None = None, bias: Constant | None = None, shape: tuple[int, ...] | None = None,
        **more: Constant,
    ) -> str:  # fmt: skip
        """Append an operator and make its output this call's result. `more` are further constants, filed as attributes.

        Raises Unsupported for inputs of a rank that `kind` does not have.
        """
        for given in inputs:
            if len(self.walker.shapes[given]) not in RANKS.get(kind, ANY_RANK):
                forms = " or ".join(LAYOUTS[rank] for rank in RANKS[kind])
                raise self.unsupported(f"its input has shape {self.walker.shapes[given]}, not {forms}")
        name = self._name(kind)
        keys = {role: self._file(name, role, constant) for role, constant in more.items()}
        self.walker.operators.append(
            Operator(
                name, kind, inputs, name, {**(attributes or {}), **keys},
                None if weight is None else self._file(name, "weight", weight),
                None if bias is None else self._file(name, "bias", bias),
            )
        )  # fmt: skip
        self.walker.shapes[name] = self.result_shape if shape is None else shape
        self.walker.values[self.node] = name
        return name

    def parameter(self, weight: Constant) -> str | None:
        """The weight's name in the module when it is a conv or linear layer's own parameter."""
        return weight.key if weight.key in self.walker.layer_weights else None

    def _name(self, kind: str) -> str:
        # A layer is called by its path; what a container's forward calls itself gets the kind as well.
        # Padding is going to be part of the convolution: it must not take the layer's name.
        candidates = [self.path] if self.path and kind != "pad" and self._is_leaf() else []
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

    def _file(self, name: str, role: str, constant: Constant) -> str:
        key = constant.key or f"{name}.{role}"
        # A computed tensor must not take the place of a parameter of the same name.
        while constant.key is None and key in self.walker.state:
            key += "_"
        if key not in self.walker.state:
            self.walker.state[key] = constant.tensor.detach().to("cpu", torch.float32, copy=True)
        return key
