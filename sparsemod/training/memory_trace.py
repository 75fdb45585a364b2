"""The memory of one training iteration, operation by operation.

Each tensor's storage counts from the operation that makes it to the moment when nothing holds it any more. Workspace that an
operation takes and returns while it runs is not seen.
"""

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemod.training.rules import LossFunction, TrainingRule


@dataclass(frozen=True)
class Event:
    """A change of the memory: microseconds since the start, bytes after it, the change, the operation that caused it."""

    microseconds: int
    total: int
    delta: int
    operation: str

    def __str__(self) -> str:
        return f"{self.microseconds} {self.total} {self.delta} {self.operation}"


@dataclass
class Operation:
    """All calls of the operations with one name: their number, the bytes that they made, and the operations whose results they read.

    `inputs` also holds the names of the baseline. An operation that returns a view of its input is not listed: what reads
    the view reads the input.
    """

    calls: int = 0
    bytes: int = 0
    inputs: dict[str, None] = field(default_factory=dict)


@dataclass
class MemoryTrace:
    """The memory of one iteration.

    `events` begin with what exists before it (`baseline`: parameters, buffers, batch, optimizer state, feedback matrices).
    `at_peak` holds the bytes of each operation's results that are live at the peak. `operations` is the computation graph:
    the operations that make or change memory, by the names of the events, in the order of their first calls.
    """

    events: list[Event] = field(default_factory=list)
    baseline: dict[str, int] = field(default_factory=dict)
    at_peak: dict[str, int] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """Largest total in bytes."""
        return max((event.total for event in self.events), default=0)

    @property
    def beyond(self) -> int:
        """Bytes of the peak beyond what exists before the iteration: activations, gradients, temporary results."""
        return self.peak - sum(self.baseline.values())

    @property
    def peak_operation(self) -> str:
        """The operation that reaches the peak."""
        return max(self.events, key=lambda event: event.total).operation if self.events else ""

    def by_layer(self) -> dict[str, int]:
        """Return the bytes that are live at the peak by layer, largest first."""
        layers: Counter[str] = Counter()
        for operation, size in self.at_peak.items():
            parts = operation.split("/")
            layers[parts[1] if len(parts) > 2 else operation] += size
        return dict(layers.most_common())

    def text(self) -> str:
        """Return a line for each change: microseconds, total bytes, bytes of the change, operation."""
        return "".join(f"{event}\n" for event in self.events)


def parse(text: str) -> list[Event]:
    """Return the events of `MemoryTrace.text`."""
    events = []
    for line in text.splitlines():
        moment, total, delta, operation = line.split(" ", 3)
        events.append(Event(int(moment), int(total), int(delta), operation))
    return events


def trace_iteration(
    module: nn.Module,
    rule: TrainingRule[Any],
    batch: tuple[Tensor, Tensor],
    loss: LossFunction,
    optimizer: "torch.optim.Optimizer | Shadow",
    *,
    at_once: bool = True,
    beside: Mapping[str, nn.Module] | None = None,
) -> MemoryTrace:
    """Return the memory of one iteration: the rule's gradients and the optimizer's step.

    `rule` has been started on `module`, which is in training mode; both are on the device of `batch`, which may be the
    meta device. On an accelerator, tensors in the host's memory do not count. An iteration runs before the traced one, so
    that optimizer state and feedback matrices exist; the weights change. With `at_once` the rule may update each layer as
    soon as its gradient is known. `beside`: modules that train beside the network, by name.
    """
    x, y = batch

    def update() -> None:
        with tracer.phase("update") if tracer is not None else _nothing():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    tracer: _Tracer | None = None
    rule.update = update if at_once else None
    optimizer.zero_grad(set_to_none=True)
    rule.gradients(x, y, loss)
    update()
    parts = {"": module, **(beside or {})}
    tracer = _Tracer(parts, _counted(x.device))
    tracer.start(_existing(list(parts.values()), batch, optimizer, rule))
    with tracer.layers(), tracer:
        rule.gradients(x, y, loss)
        update()
    return tracer.finished()


class Shadow:
    """An optimizer without values, for parameters on the meta device: it has the bytes of the state and changes nothing.

    `make` returns the real optimizer of parameters. The step of a fused optimizer takes no memory.
    """

    def __init__(
        self, parameters: list[nn.Parameter], make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    ) -> None:
        self._parameters = parameters
        sample = nn.Parameter(torch.zeros(3))
        real = make([sample])
        sample.grad = torch.zeros(3)
        real.step()
        parts = [part for part in real.state[sample].values() if isinstance(part, Tensor)]
        like = sum(part.shape == sample.shape for part in parts)
        fixed = sum(part.untyped_storage().nbytes() for part in parts if part.shape != sample.shape)
        self.bytes = sum(like * p.numel() * p.element_size() + fixed for p in parameters if p.requires_grad)

    def step(self) -> None:
        """Change nothing."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None


def _existing(
    modules: list[nn.Module],
    batch: tuple[Tensor, Tensor],
    optimizer: "torch.optim.Optimizer | Shadow",
    rule: TrainingRule[Any],
) -> Mapping[str, list[Tensor] | int]:
    states: list[Tensor] | int
    if isinstance(optimizer, Shadow):
        states = optimizer.bytes
    else:
        states = [
            part for state in optimizer.state.values() for part in state.values() if isinstance(part, Tensor)
        ]
    return {
        "parameters": [parameter for module in modules for parameter in module.parameters()],
        "buffers": [buffer for module in modules for buffer in module.buffers()],
        "batch": list(batch),
        "optimizer": states,
        "feedback": rule.feedback(),
    }


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class _Tracer(TorchDispatchMode):
    """Follows the storages that operations make in the memory of `devices`."""

    def __init__(self, modules: Mapping[str, nn.Module], devices: tuple[str, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = MemoryTrace()
        self._modules, self._devices = modules, devices
        self._live: dict[int, tuple[int, str]] = {}
        self._makers: dict[int, str] = {}
        self._known: set[int] = set()
        self._total, self._highest, self._phase = 0, -1, ""
        self._stack: list[str] = []
        self._nodes: dict[int, str] = {}
        self._began = time.perf_counter()
        self._open = True

    def start(self, existing: Mapping[str, list[Tensor] | int]) -> None:
        """Note what exists before the iteration."""
        for name, held in existing.items():
            size = held if isinstance(held, int) else 0
            for tensor in self._counted(held) if isinstance(held, list) else ():
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self._makers[storage._cdata] = name
                    size += storage.nbytes()
            if size:
                self.trace.baseline[name] = size
                self._change(size, name)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # fmt: skip
        taken = self._counted(_tensors((*args, *(kwargs or {}).values())))
        given = [tensor.untyped_storage()._cdata for tensor in taken]
        self._known.update(given)  # what is not known yet existed before
        read = dict.fromkeys(self._makers[key] for key in given if key in self._makers)
        result = func(*args, **(kwargs or {}))
        name = self._name(func)
        made = sum([self._made(tensor, name) for tensor in self._counted(_tensors((result,)))])
        if made or func._schema.is_mutable:
            operation = self.trace.operations.setdefault(name, Operation())
            operation.calls += 1
            operation.bytes += made
            operation.inputs.update(read)
            for key in _changed(func, args):
                self._makers[key] = name
        return result

    def _counted(self, tensors: Iterable[Tensor]) -> Iterator[Tensor]:
        return (tensor for tensor in tensors if tensor.device.type in self._devices)

    def _name(self, func: Any) -> str:
        operation = str(func).removeprefix("aten.").partition(".")[0]
        if self._phase:
            return f"{self._phase}/{operation}"
        node: Any = torch._C._current_autograd_node()
        if node is not None:
            layer = self._nodes.get(node._sequence_nr(), "")
            return f"backward/{layer or 'network'}/{operation}"
        return f"forward/{self._stack[-1] if self._stack else 'network'}/{operation}"

    def _made(self, tensor: Tensor, name: str) -> int:
        """Follow the storage of a result; return its bytes if the operation made it, else 0."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return 0
        self._known.add(key)
        self._makers[key] = name
        self._live[key] = (storage.nbytes(), name)
        weakref.finalize(storage, self._freed, key)
        self._change(storage.nbytes(), name)
        return storage.nbytes()

    def _freed(self, key: int) -> None:
        self._known.discard(key)
        self._makers.pop(key, None)
        size, name = self._live.pop(key, (0, ""))
        if self._open and size:
            self._change(-size, name)

    def _change(self, delta: int, name: str) -> None:
        self._total += delta
        moment = round((time.perf_counter() - self._began) * 1e6)
        self.trace.events.append(Event(moment, self._total, delta, name))
        if self._total > self._highest:
            self._highest = self._total
            at_peak: Counter[str] = Counter(self.trace.baseline)
            for size, operation in self._live.values():
                at_peak[operation] += size
            self.trace.at_peak = dict(at_peak.most_common())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name the operations within by this phase."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    @contextmanager
    def layers(self) -> Iterator[None]:
        """Follow which layer runs, and which one each step of the backward pass belongs to."""
        handles = []
        for path, part in self._named():

            def enter(_: nn.Module, given: Any, path: str = path) -> None:
                self._stack.append(path or "network")

            def leave(_: nn.Module, given: Any, result: Any, path: str = path) -> None:
                self._stack.pop()
                node = result.grad_fn if isinstance(result, Tensor) else None
                if node is not None:
                    self._nodes.setdefault(node._sequence_nr(), path or "network")

            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _named(self) -> Iterator[tuple[str, nn.Module]]:
        for name, module in self._modules.items():
            yield from module.named_modules(prefix=name)

    def finished(self) -> MemoryTrace:
        """End the trace. What the iteration leaves behind, such as gradients that were not dropped, stays in the total."""
        self._open = False
        return self.trace


def _counted(device: torch.device) -> tuple[str, ...]:
    """Return the kinds of devices whose tensors count in a trace on `device`; without values, the host stands for it too."""
    return ("cpu", "meta") if device.type in ("cpu", "meta") else (device.type,)


def _changed(func: Any, args: tuple[Any, ...]) -> Iterator[int]:
    """Return the storages of the arguments that the operation changes."""
    for given, argument in zip(args, func._schema.arguments, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from (tensor.untyped_storage()._cdata for tensor in _tensors((given,)))


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
