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
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, TensorArgument
from torch.fx import Graph as FxGraph
from torch.fx import Node
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_unflatten

from sparsemod.errors import ProcessUnusable
from sparsemod.graph.signature import parts
from sparsemod.registry import summarize_error
from sparsemod.stage_errors import is_out_of_memory

_NOISY = ("torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")
BATCH = 7  # batch size of the example; unlikely to equal the size of another axis


class CannotFollow(Exception):
    """Error of `recorded` when it loses track of a tensor; it never leaves this package."""


@dataclass(frozen=True)
class Program:
    """ATen calls in order; `inputs` are the samples' nodes, `result` is what the module returns, with nodes in place of tensors, and
    `constants` are the module's tensors by node, with their names in the module.

    `lengths` is the node of the samples' valid steps, for a module that reads them.

    The `meta` of each call holds the result without data (`val`) and the enclosing modules (`nn_module_stack`: path, class).
    """

    graph: FxGraph
    inputs: tuple[Node, ...]
    result: Any
    constants: Mapping[Node, tuple[str, Tensor]]
    lengths: Node | None = None


@cache
def _load_exporter() -> None:
    """Export a linear layer, so that torch loads the exporter before it judges anybody's module.

    A load that the machine interrupts (a full disk) leaves torch's modules half loaded: then every export fails, whatever
    the module is. Raises ProcessUnusable.
    """
    try:
        torch.export.export(nn.Linear(1, 1), (torch.zeros(2, 1),), strict=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ProcessUnusable(
            f"torch.export could not be loaded: {summarize_error(error)}; a new process loads it again"
        ) from error


def exported(module: nn.Module, examples: tuple[Any, ...]) -> Program:
    """Trace the program with `torch.export`, without decompositions. Errors of the module and the tracer propagate.

    Raises ProcessUnusable when this process cannot load torch.export.
    """
    with _quiet():
        _load_exporter()
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


def _known_result(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return results that need no computation (torch's own rules for these take half of the time); None when torch must compute."""
    if func is _ATEN._to_copy.default and _is_order(args[0], kwargs):
        return torch.arange(len(args[0]))
    if func not in _SAME_SHAPE or kwargs:
        return None
    x = args[0]
    if func is _ATEN.relu_.default:
        return x
    if func is _ATEN.relu.default:
        return torch.empty_like(x)
    channels = {part.shape for part in args[1:5] if part is not None}
    if args[5] or x.ndim < 2 or channels != {x.shape[1:2]}:
        return None
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


def _is_order(x: Tensor, kwargs: Mapping[str, Any]) -> bool:
    """Whether the order of a batch's samples by length returns to the CPU; all samples of the example are equally long."""
    device = kwargs.get("device")
    return x.is_meta and x.ndim == 1 and x.dtype == torch.int64 and getattr(device, "type", device) == "cpu"


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


def recorded(module: nn.Module, examples: tuple[Any, ...], lengths: Tensor | None = None) -> Program:
    """Trace the program by running the module on the meta device. Raises CannotFollow; errors of the module propagate.

    `examples` are the arguments: tensors, tuples or dicts of tensors, and constants. `lengths` (N,) are real numbers on the CPU, for a
    module that reads them; they follow the other arguments.
    """
    recorder, inputs, scripted = _Recorder(module), [], isinstance(module, torch.jit.ScriptModule)

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        sample = value if scripted else torch.empty(value.shape, dtype=value.dtype, device="meta")
        inputs.append(recorder.placeholder("x", sample))
        return sample

    samples = tree_map(placed, examples)
    steps = None if lengths is None else recorder.placeholder("lengths", lengths)
    arguments = samples if lengths is None else (*samples, lengths)
    constants, tensors = {}, {}
    for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
        # A scripted module runs with its own tensors, outside of Python.
        tensors[key] = tensor if scripted else tensor.detach().to("meta")
        placeholder = recorder.placeholder("constant", tensors[key])
        recorder.remember(tensor, placeholder)  # recurrent layers hold their weights in a list as well
        placeholder.meta["val"] = tensors[key]
        constants[placeholder] = (key, tensor.detach())
    with torch.no_grad(), recorder.paths(), RecurrentCalls(recorder), recorder:
        result = module(*arguments) if scripted else torch.func.functional_call(module, tensors, arguments)
    named = list(parts(result))
    returned = {name: recorder.nodes(part) for name, part in named}
    if len(returned) < len(named):
        raise CannotFollow("two results of one name")
    recorder.graph.output(tuple(returned.values()))
    return Program(recorder.graph, tuple(inputs), returned, constants, steps)


class RecurrentCalls(TorchFunctionMode):
    """Keeps calls of recurrent layers, and of packing for them, as one call each: below this level torch takes them apart.

    Every step of the example is valid.
    """

    def __init__(self, recorder: "_Recorder") -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Record the calls in RECURRENT; run all others."""
        found = _RECURRENT.get(getattr(func, "__name__", ""))
        if found is None or not isinstance(args[0], Tensor) or kwargs:
            return func(*args, **(kwargs or {}))
        target, result = found(args)
        return self.recorder.record(target, args, {}, lambda: result, _calling_line())


def _cell(name: str, states: int) -> Callable[[tuple[Any, ...]], tuple[Any, Any]]:
    def called(args: tuple[Any, ...]) -> tuple[Any, Any]:
        packed = isinstance(args[1], Tensor) and args[1].ndim == 1
        initial = args[2] if packed else args[1]
        first = initial if isinstance(initial, Tensor) else initial[0]
        width = first.shape[-1] * (2 if args[8 if packed else 7] else 1)
        made = (
            args[0].new_empty(*args[0].shape[:-1], width),
            *(first.new_empty(first.shape) for _ in range(states)),
        )
        overload = getattr(_ATEN, name).data if packed else getattr(_ATEN, name).input
        return overload, made

    return called


def _packed(args: tuple[Any, ...]) -> tuple[Any, Any]:
    x, _, first = args
    batch, steps = x.shape[:2] if first else (x.shape[1], x.shape[0])
    sizes = torch.full((steps,), batch, dtype=torch.int64)
    return _ATEN._pack_padded_sequence.default, (x.new_empty(batch * steps, x.shape[2]), sizes)


def _unpacked(args: tuple[Any, ...]) -> tuple[Any, Any]:
    data, sizes, first, _, _ = args
    steps, batch = len(sizes), len(data) // len(sizes)
    shape = (batch, steps) if first else (steps, batch)
    return _ATEN._pad_packed_sequence.default, (
        data.new_empty(*shape, data.shape[1]), torch.full((batch,), steps, dtype=torch.int64)
    )  # fmt: skip


_RECURRENT: Mapping[str, Callable[[tuple[Any, ...]], tuple[Any, Any]]] = {
    "gru": _cell("gru", 1), "lstm": _cell("lstm", 2), "_pack_padded_sequence": _packed, "_pad_packed_sequence": _unpacked,
}  # fmt: skip


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
        self.remember(tensor, node)
        return node

    def remember(self, tensor: Tensor, node: Node) -> None:
        """Let `node` stand for a tensor."""
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
        if func is _ATEN._local_scalar_dense.default and self._is_batch_size(args[0]):
            return func(*args)
        result = _known_result(func, args, kwargs)
        return self.record(
            func, args, kwargs, lambda: func(*args, **kwargs) if result is None else result, _calling_line()
        )

    def _is_batch_size(self, number: Tensor) -> bool:
        """Whether a number is the size of a packed batch at one step, which recurrent layers read."""
        node = self._nodes.get(id(number))
        while node is not None and node.target in (_ATEN.select.int, operator.getitem):
            source = node.args[0]
            node = source if isinstance(source, Node) else None
        return node is not None and node.target is _ATEN._pack_padded_sequence.default

    def record(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[[], Any],
        place: tuple[str, int] | None,
    ) -> Any:
        """Append a call of `func` from a line of the module's code, with the result of `run`, and return that result."""
        node = self.graph.call_function(func, self.nodes(args), self.nodes(kwargs))
        node.meta["nn_module_stack"] = {path: (path, kind) for path, kind in self._stack}
        node.meta["place"] = place
        result = run()
        if isinstance(result, Tensor):
            self.remember(result, node)
        elif isinstance(result, tuple | list):
            node.meta["val"] = result
            for index, part in enumerate(result):
                if isinstance(part, Tensor):
                    self.remember(part, self.graph.call_function(operator.getitem, (node, index)))
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
