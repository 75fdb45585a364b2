"""Two ways to trace the ATen operators of a module as one program.

`exported` uses `torch.export`: authoritative, but it takes tens of milliseconds. `recorded` runs the module once on tensors without
data and records its calls: about ten times faster, because nothing is symbolic. It raises CannotFollow when it loses track (the module
reads values, or creates tensors on the side); then `exported` decides. The tests compare both.
"""

import logging
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, TensorArgument
from torch.fx import Graph as FxGraph
from torch.fx import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_unflatten

from sparsemod.graph.signature import parts

_NOISY = ("torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")
BATCH = 7  # batch size of the example; unlikely to equal the size of another axis


class CannotFollow(Exception):
    """Error of `recorded` when it loses track of a tensor; it never leaves this package."""


@dataclass(frozen=True)
class Program:
    """ATen calls in order; `inputs` are the samples' nodes, `result` is what the module returns, with nodes in place of tensors, and
    `constants` are the module's tensors by node, with their names in the module.

    The `meta` of each call holds the result without data (`val`) and the enclosing modules (`nn_module_stack`: path, class).
    """

    graph: FxGraph
    inputs: tuple[Node, ...]
    result: Any
    constants: Mapping[Node, tuple[str, Tensor]]


def exported(module: nn.Module, examples: tuple[Any, ...]) -> Program:
    """Trace the program with `torch.export`, without decompositions. Errors of the module and the tracer propagate."""
    with _quiet():
        program = torch.export.export(module, examples, strict=False)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    constants, inputs = {}, []
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        spec = specs[node.name]
        if spec.kind is InputKind.USER_INPUT:
            if isinstance(spec.arg, TensorArgument):
                inputs.append(node)
            continue
        key = str(spec.target)
        tensor = program.state_dict.get(key, program.constants.get(key))
        if not isinstance(tensor, Tensor):
            raise CannotFollow(f"{key} is a {type(tensor).__name__}, not a tensor")
        constants[node] = (key, tensor.detach())
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    structure = program.call_spec.out_spec
    if structure is None:
        raise CannotFollow("a result without a structure")
    return Program(program.graph, tuple(inputs), tree_unflatten(list(output.args[0]), structure), constants)


_ATEN = torch.ops.aten
_SAME_SHAPE = (_ATEN.relu.default, _ATEN.relu_.default, _ATEN.native_batch_norm.default)


def _known_result(func: Any, args: tuple[Any, ...]) -> Any:
    """Return results that need no computation (torch's own rules for these take half of the time); None when torch must compute."""
    x = args[0]
    if func is _ATEN.relu_.default:
        return x
    if func is _ATEN.relu.default:
        return torch.empty_like(x)
    channels = {part.shape for part in args[1:5] if part is not None}
    if args[5] or x.ndim < 2 or channels != {x.shape[1:2]}:
        return None
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's output: before it raises, torch prints whole graphs; its exception says the same in one line."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def recorded(module: nn.Module, examples: tuple[Any, ...]) -> Program:
    """Trace the program by running the module on the meta device. Raises CannotFollow; errors of the module propagate.

    `examples` are the arguments: tensors, tuples or dicts of tensors, and constants."""
    recorder, inputs, scripted = _Recorder(module), [], isinstance(module, torch.jit.ScriptModule)

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        sample = value if scripted else torch.empty(value.shape, dtype=value.dtype, device="meta")
        inputs.append(recorder.placeholder("x", sample))
        return sample

    samples = tree_map(placed, examples)
    constants, tensors = {}, {}
    for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
        # A scripted module runs with its own tensors, outside of Python.
        tensors[key] = tensor if scripted else tensor.detach().to("meta")
        constants[recorder.placeholder("constant", tensors[key])] = (key, tensor.detach())
    with torch.no_grad(), recorder.paths(), recorder:
        result = module(*samples) if scripted else torch.func.functional_call(module, tensors, samples)
    named = list(parts(result))
    returned = {name: recorder.nodes(part) for name, part in named}
    if len(returned) < len(named):
        raise CannotFollow("two results of one name")
    recorder.graph.output(tuple(returned.values()))
    return Program(recorder.graph, tuple(inputs), returned, constants)


class _Recorder(TorchDispatchMode):
    """Records every ATen call below autograd, where composite operators are already decomposed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = FxGraph()
        self._module = module
        self._nodes: dict[int, Node] = {}
        self._kept: list[Tensor] = []  # keeps objects alive, so that no id() is reused
        self._stack: list[tuple[str, str]] = []

    def placeholder(self, name: str, tensor: Tensor) -> Node:
        node = self.graph.placeholder(name)
        self._remember(tensor, node)
        return node

    def _remember(self, tensor: Tensor, node: Node) -> None:
        node.meta["val"] = tensor
        self._nodes[id(tensor)] = node
        self._kept.append(tensor)

    def nodes(self, value: Any) -> Any:
        """Return `value` with nodes in place of tensors."""
        if isinstance(value, Tensor):
            node = self._nodes.get(id(value))
            if node is None:
                raise CannotFollow("a tensor of unknown origin")
            return node
        if isinstance(value, tuple | list):
            return type(value)(self.nodes(part) for part in value)
        if isinstance(value, dict):
            return {key: self.nodes(part) for key, part in value.items()}
        return value

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        node = self.graph.call_function(func, self.nodes(args), self.nodes(kwargs))
        node.meta["nn_module_stack"] = {path: (path, kind) for path, kind in self._stack}
        node.meta["place"] = _calling_line()
        result = _known_result(func, args) if func in _SAME_SHAPE and not kwargs else None
        result = func(*args, **kwargs) if result is None else result
        if isinstance(result, Tensor):
            self._remember(result, node)
        elif isinstance(result, tuple | list):
            node.meta["val"] = result
            for index, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._remember(part, self.graph.call_function(operator.getitem, (node, index)))
        else:
            raise CannotFollow("an operator whose result is no tensor")
        return result

    @contextmanager
    def paths(self) -> Iterator[None]:
        """Track the module that is running; a scripted one does not say it."""
        handles = []
        scripted = isinstance(self._module, torch.jit.ScriptModule)
        for path, part in () if scripted else self._module.named_modules():
            kind = f"{type(part).__module__}.{type(part).__qualname__}"

            def enter(_: nn.Module, inputs: Any, place: tuple[str, str] = (path, kind)) -> None:
                self._stack.append(place)

            def leave(_: nn.Module, inputs: Any, result: Any) -> None:
                self._stack.pop()

            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def call_place(node: Node) -> str:
    """Return file and line of the module's code that made this call, as `net.py, line 12`; empty when unknown."""
    place = node.meta.get("place")
    if place is None:
        frames = [
            match for match in _FRAME.findall(node.meta.get("stack_trace") or "") if _is_outside(match[0])
        ]
        place = (frames[-1][0], int(frames[-1][1])) if frames else None
    return f"{Path(place[0]).name}, line {place[1]}" if place else ""


def _calling_line() -> tuple[str, int] | None:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        if _is_outside(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def _is_outside(file: str) -> bool:
    return not file.startswith((_TORCH, _HERE, "<"))
