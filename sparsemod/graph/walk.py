"""Translation of a traced program to graph operators, node by node with the rules in `sparsemod.graph.aten`.

This module also handles two special cases. In-place operators: every later reader of any alias sees the new value. Computed weights
(masks, parametrizations, buckets): the walk evaluates every node that does not depend on the input.
"""

import operator as python_operator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from sparsemod.errors import BuildError, Unsupported
from sparsemod.graph.aten import TRANSLATIONS
from sparsemod.graph.call import Call, Constant, Moved
from sparsemod.graph.means import merge_means
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.recurrent_ends import keep_last_steps
from sparsemod.graph.rules.movements import place
from sparsemod.graph.sequence_values import FromLengths, StepsFirst, is_steps_first, translated
from sparsemod.graph.signature import Inputs, parts
from sparsemod.graph.trace import CannotFollow, Program
from sparsemod.layouts import RANKS, Tensors, default_layout

UNKNOWN = object()
"""Placeholder for an unsupported operator's result without a batch axis."""


class Walker:
    """Translates a program node by node. The walk continues after an unsupported operator, so that one error names all of them."""

    def __init__(self, program: Program, inputs: Inputs, layer_weights: frozenset[str]) -> None:
        self.nodes, self.layer_weights = list(program.graph.nodes), layer_weights
        self.operators: list[Operator] = []
        self.inputs = tuple(inputs.shapes)
        self.result, self.batch = program.result, int(program.inputs[0].meta["val"].shape[0])
        self.shapes: dict[str, tuple[int, ...]] = dict(inputs.shapes)
        self.layouts: dict[str, str] = {
            name: layout
            for name, layout in inputs.layouts.items()
            if layout != default_layout(inputs.shapes[name])
        }
        self.state: dict[str, Tensor] = {}
        self.names = set(self.inputs)
        # the names of the module's tensors, which no computed tensor may have
        self.own_tensors = frozenset(key for key, _ in program.constants.values())
        # In-place writes must not change the module's tensors.
        copy = any(_is_in_place(node) for node in self.nodes)
        self.values: dict[Node, Any] = {  # a tensor's name, a Constant, or a tuple of them
            node: Constant(tensor.clone() if copy else tensor, key)
            for node, (key, tensor) in program.constants.items()
        }
        self.values.update(zip(program.inputs, self.inputs, strict=True))
        if program.lengths is not None:
            self.values[program.lengths] = FromLengths("lengths")
        self.storage: dict[Node, Node] = {
            node: node for node in self.values
        }  # node -> the node whose memory its tensor shares
        self.order = {node: place for place, node in enumerate(self.nodes)}
        self.refused: list[Unsupported] = []
        # The calls of a normalization to length 1 -> the division that ends it; and that division -> the tensor and its axis.
        self.skipped: dict[Node, Node] = {}
        self.normalized: dict[Node, tuple[str, int]] = {}

    def graph(self) -> Graph:
        """Translate the whole program."""
        live = self._live()
        outputs: dict[str, str] | None = None
        for node in self.nodes:
            if node.op == "output":
                if self.refused:
                    raise self.refused[0].beside(self.refused[1:])
                outputs = self._outputs()
            elif node.op == "call_function" and node in live:
                try:
                    self._translate(node)
                except Unsupported as error:
                    self._record_unsupported(node, error)
        if outputs is None:
            raise BuildError("the network returns nothing")
        kept = tuple(outputs.values())
        needed, kept = _drop_squeezes(_needed_operators(self.operators, kept), kept, self.shapes)
        needed = merge_means(needed, kept, self.shapes)
        needed = keep_last_steps(needed, kept, self.shapes, self.layouts)
        operators = _fuse_pads(needed, kept, Tensors(self.shapes, self.layouts))
        tensors = {*self.inputs, *(operator.output for operator in operators)}
        keys = {key for operator in operators for key in operator.keys}
        return Graph(
            self.inputs[0], kept[0], operators,
            {name: shape for name, shape in self.shapes.items() if name in tensors},
            {key: tensor for key, tensor in self.state.items() if key in keys},
            {name: layout for name, layout in self.layouts.items() if name in tensors},
            self.inputs[1:], kept[1:], tuple(outputs) if len(outputs) > 1 else (),
        )  # fmt: skip

    def _live(self) -> set[Node]:
        """Return the nodes that the output needs, including in-place writes whose result is read only through an alias."""
        live: set[Node] = set()
        todo = [n for n in self.nodes if n.op == "output" or _is_in_place(n)]
        while todo:
            node = todo.pop()
            if node not in live:
                live.add(node)
                todo += node.all_input_nodes
        return live

    def _outputs(self) -> dict[str, str]:
        """Return the tensors of the outputs by name."""
        found: dict[str, str] = {}
        for name, node in parts(self.result):
            value = self.values[node] if isinstance(node, Node) else node
            if isinstance(value, Moved) and value.batch:
                raise BuildError(f"the network's result {name} must keep the batch axis first")
            if isinstance(value, Moved) and value.lazy and value.index.ndim in RANKS:
                value = self.placed(Call(self, node), node)
            if not isinstance(value, str):
                raise BuildError(f"the network's result {name} must be a tensor that depends on its input")
            if value in found.values():
                raise BuildError(f"the network returns one tensor twice, as {name} and before")
            if name in found:
                raise BuildError(f"two of the network's results have the name {name}")
            found[f"output_{name}" if name in self.inputs else name] = value
        if not found:
            raise BuildError("the network returns nothing")
        return found

    def placed(self, call: Call, node: Node) -> str:
        """See `sparsemod.graph.call.Walker`."""
        value = self.values[node]
        kept = self.values.get(call.node)
        made = str(place(call, value.source, value.index, lazy=False))
        self.values[call.node] = kept
        for other in [n for n, held in self.values.items() if held is value]:
            self.values[other] = made
        return made

    def _record_unsupported(self, node: Node, error: Unsupported) -> None:
        """Record the error, and continue the walk with a placeholder for the operator's result."""
        if error.where not in {recorded.where for recorded in self.refused}:
            self.refused.append(error)
        result = node.meta.get("val")
        parts = result if isinstance(result, tuple | list) else [result]
        placeholders = tuple(
            self._placeholder(f"{error.operator}:{len(self.shapes)}", part) for part in parts
        )
        self.values[node] = placeholders if isinstance(result, tuple | list) else placeholders[0]
        self.storage[node] = node

    def _placeholder(self, name: str, result: Any) -> Any:
        if not isinstance(result, Tensor) or result.ndim - 1 not in RANKS or result.shape[0] != self.batch:
            return UNKNOWN
        self.shapes[name] = tuple(int(size) for size in result.shape[1:])
        return name

    def _translate(self, node: Node) -> None:
        call = Call(self, node)
        if node in self.skipped:
            self._finish_normalization(node, call)
            return
        if any(self.values[source] is UNKNOWN for source in node.all_input_nodes):
            # The placeholder of an unsupported result has no valid shape to check. A missing translation is still reported.
            has_translation = node.target is python_operator.getitem or TRANSLATIONS.has(str(node.target))
            self.values[node], self.storage[node] = UNKNOWN, node
            if not has_translation:
                raise call.unsupported()
            return
        if node.target is python_operator.getitem:
            source, index = node.args
            self.values[node] = self.values[source][index]  # type: ignore[index]
            shared = self.storage.get(source, source)  # type: ignore[arg-type]
            self.storage[node] = node if shared is source else shared  # type: ignore[assignment]
            return
        inputs = [self.values[n] for n in node.all_input_nodes]
        if all(isinstance(value, Constant) for value in inputs):
            self._evaluate(node)
            return
        if translated(call):
            return
        if is_steps_first(node, self):
            self.values[node], self.storage[node] = StepsFirst(inputs[0]), node
            return
        if not TRANSLATIONS.has(str(node.target)):
            raise call.unsupported()
        self.storage[node] = node
        TRANSLATIONS.get(str(node.target)).origin(call)
        if _is_in_place(node):
            self._update_aliases(node, call)

    def _finish_normalization(self, node: Node, call: Call) -> None:
        """Translate the division that ends a normalization to length 1; the steps before it have no result of their own."""
        self.storage[node] = node
        if node not in self.normalized:
            self.values[node] = UNKNOWN
            return
        tensor, axis = self.normalized[node]
        call.emit("l2_normalize", (tensor,), {"axis": axis}, shape=self.shapes[tensor])

    def _evaluate(self, node: Node) -> None:
        """Evaluate a node that does not depend on the input, on the module's tensors. Raises Unsupported for random numbers."""
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Call(self, node).unsupported("its result is random")
        args = map_arg(node.args, lambda n: self.values[n].tensor)
        kwargs = map_arg(node.kwargs, lambda n: self.values[n].tensor)
        if getattr(kwargs.get("device"), "type", None) == "meta":
            kwargs = {**kwargs, "device": torch.device("cpu")}  # a tensor made on the device of the sample
        with torch.no_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        if isinstance(result, Tensor) and result.is_meta:
            raise CannotFollow("a tensor made on the device of the sample")
        self.storage[node] = node
        if isinstance(result, tuple | list):
            self.values[node] = tuple(Constant(r) if isinstance(r, Tensor) else r for r in result)
        else:
            self.values[node] = (
                Constant(result, transposed=self._transposed(node)) if isinstance(result, Tensor) else result
            )

    def _transposed(self, node: Node) -> str | None:
        source: str | None = (
            self.values[node.all_input_nodes[0]].key if str(node.target) == "aten.t.default" else None
        )
        return source

    def _update_aliases(self, node: Node, call: Call) -> None:
        """Update every alias of an in-place operator's first input to the new value."""
        target = node.all_input_nodes[0]
        before, root = self.values[target], self.storage[target]
        for alias in [n for n, owner in self.storage.items() if owner is root]:
            if self.values[alias] == before:
                self.values[alias] = self.values[node]
            elif any(self.order[user] > self.order[node] for user in alias.users):
                raise call.unsupported("it writes in place into a tensor that is read through a view")
        self.storage[node] = root


def _is_in_place(node: Node) -> bool:
    """Whether the node is an ATen operator that changes its first input."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _needed_operators(operators: list[Operator], outputs: tuple[str, ...]) -> list[Operator]:
    tensors, needed = set(outputs), []
    for operator in reversed(operators):
        if operator.output in tensors:
            needed.append(operator)
            tensors.update(operator.inputs)
    return needed[::-1]


def _drop_squeezes(
    operators: list[Operator], outputs: tuple[str, ...], shapes: dict[str, tuple[int, ...]]
) -> tuple[list[Operator], tuple[str, ...]]:
    """Drop torch's reshapes around the pools of sequences, (C, L) -> (C, 1, L) -> pool -> (C, L), so that the pool reads the sequence.

    Returns the operators and the outputs' names, and sets the pool's entry in `shapes` to the sequence's shape.
    """
    rewritten = list(operators)
    for name in [o.name for o in operators if o.kind == "reshape"]:
        lifted = next((o for o in rewritten if o.name == name), None)
        if lifted is None:
            continue
        source, image = shapes[lifted.inputs[0]], shapes[lifted.output]
        pools = [o for o in rewritten if lifted.output in o.inputs]
        if len(source) != 2 or image != (source[0], 1, source[1]) or len(pools) != 1:
            continue
        pool = pools[0]
        after = [o for o in rewritten if pool.output in o.inputs]
        squeezed = after[0] if len(after) == 1 else None
        if not pool.traits.positions or squeezed is None or {lifted.output, pool.output} & set(outputs):
            continue
        if squeezed.kind != "reshape" or len(shapes[squeezed.output]) != 2:
            continue
        shapes[pool.output] = shapes[squeezed.output]
        rewritten = [
            replace(o, inputs=tuple(pool.output if n == squeezed.output else n for n in o.inputs))
            for o in rewritten
            if o.name not in (lifted.name, squeezed.name)
        ]
        place = next(index for index, o in enumerate(rewritten) if o.name == pool.name)
        rewritten[place] = replace(pool, inputs=lifted.inputs)
        outputs = tuple(pool.output if name == squeezed.output else name for name in outputs)
    return rewritten, outputs


def _fuse_pads(operators: list[Operator], outputs: tuple[str, ...], tensors: Tensors) -> tuple[Operator, ...]:
    """Merge one or several zero paddings before convolutions into the convolutions; a padding that others read copies elements."""
    pads: dict[str, Operator] = {}
    result = []
    for operator in operators:
        padded = [pads[name] for name in operator.inputs if name in pads]
        if padded:
            sums = zip(operator.attributes["padding"], padded[0].attributes["padding"], strict=True)
            attributes = {**operator.attributes, "padding": tuple(a + b for a, b in sums)}
            operator = replace(operator, inputs=padded[0].inputs, attributes=attributes)
        readers = [other for other in operators if operator.output in other.inputs]
        if operator.kind != "pad":
            result.append(operator)
        elif operator.output not in outputs and all(other.traits.takes_padding for other in readers):
            pads[operator.output] = operator
        else:
            result.append(_as_take(operator, tensors))
    return tuple(result)


def _as_take(pad: Operator, tensors: Tensors) -> Operator:
    """Return the padding as an operator that copies rows and columns."""
    source = pad.inputs[0]
    layout, sizes = tensors.layout(source), tensors.image(source)[1:]
    places: list[tuple[int, ...]] = [() for _ in range(layout.rank)]
    for axis, size, around in zip(
        layout.positions[::-1], sizes[::-1], (pad.window.padding[2:], pad.window.padding[:2]), strict=False
    ):
        if any(around):
            places[axis] = (-1,) * around[0] + tuple(range(size)) + (-1,) * around[1]
    return replace(pad, kind="take", attributes={"places": tuple(places), "fill": "zero"})
