"""From a `torch.nn.Module` to a graph, through `torch.export`.

The module is exported without decompositions (they take ten times longer), and ATen's operators are translated by the table in
`sparsemod.graph.aten`. Two things need care, and happen here: operators that work in place (every later reader of any alias sees the new
value), and weights that are computed (masks, parametrizations, buckets): whatever does not depend on the input is evaluated.
"""

import operator as python_operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from sparsemod.errors import BuildError, InvalidInput, SparsemodError, Unsupported
from sparsemod.graph.aten import TRANSLATIONS, Call, Constant
from sparsemod.graph.operators import KINDS, Graph, Operator

_BATCH = 7  # samples of the example; unlikely to be mistaken for another axis
_INPUT = "input"


def capture(module: nn.Module, shape: Sequence[int]) -> Graph:
    """The operators that `module` runs in evaluation mode on one sample of `shape`, (C, H, W) or (F,).

    Needs: one input (N, *shape), one output (N, classes), and Python control flow that does not depend on the input's values.
    Guarantees: the same outputs (`run_float`); the module's mode, weights and gradients are not touched; the state is a copy.

    Raises InvalidInput for a shape that is none, BuildError when the module fails on this shape, Unsupported for an operator that no
    cost model, kernel or exporter knows.
    """
    if not 1 <= len(shape) <= 3 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise InvalidInput("shape", tuple(shape), "(C, H, W) or (F,), positive whole numbers")
    first = next(module.parameters(), torch.zeros(0))
    example = torch.zeros(_BATCH, *shape, dtype=first.dtype, device=first.device)
    with _evaluating(module), warnings.catch_warnings():
        # About speed on this machine, or about torch's own internals; nothing that the module's author could act on.
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            program = torch.export.export(module, (example,), strict=False)
        except SparsemodError:
            raise
        except Exception as error:
            # torch.export raises whatever the module or its own tracer raised; a plain run tells the two apart.
            raise _explain(module, example, error) from error
        return _Walker(program, tuple(shape), _layer_weights(module)).graph()


def _layer_weights(module: nn.Module) -> frozenset[str]:
    """Names of the weights that belong to convolutions and linear layers as parameters of their own."""
    return frozenset(
        f"{path}.weight" if path else "weight"
        for path, part in module.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear) and part._parameters.get("weight") is not None
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _explain(module: nn.Module, example: Tensor, error: Exception) -> SparsemodError:
    """BuildError naming the layer when the module cannot run either, else Unsupported: it runs but cannot be captured."""
    running: list[tuple[str, tuple[int, ...]]] = []
    handles = []
    for path, part in module.named_modules():

        def enter(_: nn.Module, given: tuple[Any, ...], path: str = path) -> None:
            sizes = tuple(given[0].shape[1:]) if given and isinstance(given[0], Tensor) else ()
            running.append((path, sizes))

        def leave(_: nn.Module, given: Any, result: Any) -> None:
            running.pop()

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            module(example)
    except SparsemodError as failure:
        return failure
    except Exception as failure:  # noqa: BLE001 - whatever the module raised becomes the error's text
        path, sizes = running[-1] if running else ("", tuple(example.shape[1:]))
        where = type(module.get_submodule(path)).__name__
        return BuildError(
            f"the network does not run on samples of shape {tuple(example.shape[1:])}: "
            f"{where} was given shape {sizes}: {_first_line(failure)}",
            path or type(module).__name__,
        )
    finally:
        for handle in handles:
            handle.remove()
    return Unsupported(
        type(error).__name__, type(module).__name__, "capture", KINDS,
        hint=f"forward must not depend on the input's values: {_first_line(error)}",
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class _Walker:
    """Translates an exported program node by node."""

    def __init__(
        self, program: ExportedProgram, shape: tuple[int, ...], layer_weights: frozenset[str]
    ) -> None:
        self.program, self.layer_weights = program, layer_weights
        self.operators: list[Operator] = []
        self.shapes: dict[str, tuple[int, ...]] = {_INPUT: shape}
        self.state: dict[str, Tensor] = {}
        self.names = {_INPUT}
        self.values: dict[Node, Any] = {}  # a tensor's name, a Constant, or a tuple of them
        self.storage: dict[Node, Node] = {}  # the node whose memory this one shares
        self.order = {node: place for place, node in enumerate(program.graph.nodes)}

    def graph(self) -> Graph:
        """The whole program."""
        self._placeholders()
        live = self._live()
        output = None
        for node in self.program.graph.nodes:
            if node.op == "output":
                output = self._output(node)
            elif node.op == "call_function" and node in live:
                self._translate(node)
        if output is None:
            raise BuildError("the network returns nothing")
        operators = _fuse_pads(_needed(self.operators, output), output)
        tensors = {_INPUT, *(operator.output for operator in operators)}
        keys = {key for operator in operators for key in operator.keys}
        return Graph(
            _INPUT, output, operators,
            {name: shape for name, shape in self.shapes.items() if name in tensors},
            {key: held for key, held in self.state.items() if key in keys},
        )  # fmt: skip

    def _placeholders(self) -> None:
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            self.storage[node] = node
            if spec.kind is InputKind.USER_INPUT:
                self.values[node] = _INPUT
            else:
                key = str(spec.target)
                held = self.program.state_dict.get(key, self.program.constants.get(key))
                if not isinstance(held, Tensor):
                    raise Unsupported(type(held).__name__, key, "capture", hint="constants must be tensors")
                self.values[node] = Constant(held.detach(), key)

    def _live(self) -> set[Node]:
        """Nodes that the output needs. One that writes in place counts, its result need not be read under its own name."""
        live: set[Node] = set()
        todo = [n for n in self.program.graph.nodes if n.op == "output" or _writes(n)]
        while todo:
            node = todo.pop()
            if node not in live:
                live.add(node)
                todo += node.all_input_nodes
        return live

    def _output(self, node: Node) -> str:
        results = [self.values[n] for n in node.all_input_nodes]
        if len(results) != 1 or not isinstance(results[0], str):
            raise BuildError(
                f"the network must return one tensor that depends on its input, not {len(results)} results"
            )
        return results[0]

    def _translate(self, node: Node) -> None:
        call = Call(self, node)
        if node.target is python_operator.getitem:
            source, index = node.args
            self.values[node] = self.values[source][index]  # type: ignore[index]
            self.storage[node] = node
            return
        inputs = [self.values[n] for n in node.all_input_nodes]
        if all(isinstance(value, Constant) for value in inputs):
            self._evaluate(node)
            return
        translation = TRANSLATIONS.get(str(node.target))
        if translation is None:
            raise call.unsupported()
        self.storage[node] = node
        translation(call)
        if _writes(node):
            self._written(node, call)

    def _evaluate(self, node: Node) -> None:
        """A node that does not depend on the input, computed on the module's own tensors; in-place ones work on a copy."""
        values = [self.values[n].tensor for n in node.all_input_nodes]
        if _writes(node):
            values[0] = values[0].clone()
        given = dict(zip(node.all_input_nodes, values, strict=True))
        args = torch.fx.map_arg(node.args, lambda n: given[n])
        kwargs = torch.fx.map_arg(node.kwargs, lambda n: given[n])
        with torch.no_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        self.storage[node] = node
        if isinstance(result, Tensor):
            self.values[node] = Constant(result)
        elif isinstance(result, tuple | list):
            self.values[node] = tuple(Constant(r) if isinstance(r, Tensor) else r for r in result)
        else:
            self.values[node] = result
        if _writes(node):
            self.values[node.all_input_nodes[0]] = self.values[node]

    def _written(self, node: Node, call: Call) -> None:
        """After an in-place operator, every alias of its first input holds the new value."""
        target = node.all_input_nodes[0]
        before, root = self.values[target], self.storage[target]
        for other in [n for n, held in self.storage.items() if held is root]:
            if self.values[other] == before:
                self.values[other] = self.values[node]
            elif any(self.order[user] > self.order[node] for user in other.users):
                raise call.unsupported("it writes in place into a tensor that is read through a view")
        self.storage[node] = root


def _writes(node: Node) -> bool:
    """Whether the node is an ATen operator that changes its first input."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _needed(operators: list[Operator], output: str) -> list[Operator]:
    wanted, kept = {output}, []
    for operator in reversed(operators):
        if operator.output in wanted:
            kept.append(operator)
            wanted.update(operator.inputs)
    return kept[::-1]


def _fuse_pads(operators: list[Operator], output: str) -> tuple[Operator, ...]:
    """Zero padding in front of a convolution becomes the convolution's own. Raises Unsupported for padding elsewhere."""
    pads = {operator.output: operator for operator in operators if operator.kind == "pad"}
    result = []
    for operator in operators:
        if operator.kind == "pad":
            continue
        padded = [pads[name] for name in operator.inputs if name in pads]
        if padded and operator.kind != "conv":
            raise _pad_unsupported(padded[0])
        if padded:
            sums = zip(operator.attributes["padding"], padded[0].attributes["padding"], strict=True)
            attributes = {**operator.attributes, "padding": tuple(a + b for a, b in sums)}
            operator = Operator(
                operator.name, operator.kind, padded[0].inputs, operator.output, attributes, operator.weight, operator.bias
            )  # fmt: skip
        result.append(operator)
    if output in pads:
        raise _pad_unsupported(pads[output])
    return tuple(result)


def _pad_unsupported(pad: Operator) -> Unsupported:
    return Unsupported(
        "pad", pad.name, "capture", KINDS, hint="padding must be zeros directly before a convolution"
    )
