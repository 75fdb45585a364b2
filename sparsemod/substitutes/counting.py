"""Parameters and multiply-adds of a network, by a run without values.

The rules are those of the published figures: a batch of one; multiply-adds of convolutions and linear layers, and the
linear bias; each element of a relu, and each element of a pooling window, counts as one; batch norm and pooling over the
whole image count nothing. Kernels that are computed from
fewer weights count as the convolution that runs.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemod.substitutes.acdc_layer import AcdcConv
from sparsemod.substitutes.layers import Substituted

Acdc = Literal["as it runs", "fast", "fast or dense"]


@dataclass(frozen=True)
class Rules:
    """What deviates from the correct count, to reproduce published figures.

    `dilation`: whether the size of a convolution's output takes its dilation into account. `acdc`: "fast" counts each
    ACDC layer on N channels as 4 N + 5 N log2 N at the resolution of the layer's input, "fast or dense" at most N^2.
    """

    dilation: bool = True
    acdc: Acdc = "as it runs"


CORRECT = Rules()
LEGACY = Rules(dilation=False, acdc="fast")
"""The counter of the published figures: it ignores dilation, and counts fast transforms at the input's resolution."""
LEGACY_2018 = Rules(dilation=False, acdc="fast or dense")
"""The same in 2018."""


@dataclass(frozen=True)
class Counts:
    """Counts of a network: all its `parameters`, those that its run `reached`, and its multiply-adds.

    The sanity check of the count is `parameters == reached`: a parameter beside the run is a mistake in the network.
    """

    parameters: int
    reached: int
    multiply_adds: int


def count(module: nn.Module, shape: tuple[int, ...], rules: Rules = CORRECT) -> Counts:
    """Return the counts of a network for samples of `shape`, in evaluation mode. The module is on the meta device.

    Raises the module's error when it does not run.
    """
    counter = _Counter(module, rules)
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), _fast_acdc(module, counter), counter:
            module(counter.marked(torch.empty(1, *shape, device="meta")))
    finally:
        module.train(training)
    parameters = {id(parameter): parameter for parameter in module.parameters()}
    reached = sum(parameter.numel() for key, parameter in parameters.items() if key in counter.reached)
    return Counts(sum(parameter.numel() for parameter in parameters.values()), reached, int(counter.total))


_ATEN = torch.ops.aten
_RELU = {_ATEN.relu.default, _ATEN.relu_.default}
_POOLS = {_ATEN.avg_pool2d.default, _ATEN.max_pool2d_with_indices.default}
_MATRIX = {_ATEN.mm.default, _ATEN.addmm.default}


class _Counter(TorchDispatchMode):
    """Adds up the multiply-adds of every call that depends on the sample."""

    def __init__(self, module: nn.Module, rules: Rules) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules, self.total, self.suspended = rules, 0.0, 0
        self.reached: set[int] = set()
        self._known = {id(parameter) for parameter in module.parameters()}
        self._derived: dict[int, Tensor] = {}  # keeps tensors alive, so that no id is used again

    def marked(self, tensor: Tensor) -> Tensor:
        """Note that a tensor depends on the sample."""
        self._derived[id(tensor)] = tensor
        return tensor

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # fmt: skip
        result = _quickly(func, args) if not kwargs else None
        if result is None:
            result = func(*args, **(kwargs or {}))
        inputs = list(_tensors(args)) + list(_tensors(tuple((kwargs or {}).values())))
        self.reached.update(id(tensor) for tensor in inputs if id(tensor) in self._known)
        if any(id(tensor) in self._derived for tensor in inputs):
            for tensor in _tensors((result,)):
                self.marked(tensor)
            if not self.suspended:
                self.total += self._operations(func, args, result)
        return result

    def _operations(self, func: Any, args: tuple[Any, ...], result: Any) -> float:
        if func in _RELU:
            return float(args[0].numel())
        if func is _ATEN.convolution.default:
            x, weight, _, stride, padding, dilation = args[:6]
            size = result.shape[2:]
            if not self.rules.dilation and any(d > 1 for d in dilation):
                size = [
                    (length + 2 * p - k) // s + 1
                    for length, p, k, s in zip(x.shape[2:], padding, weight.shape[2:], stride, strict=True)
                ]
            return float(len(x) * weight.numel() * math.prod(size))
        if func in _POOLS:
            kernel = args[1] if len(args[1]) == 2 else args[1] * 2
            pooled = result[0] if isinstance(result, tuple) else result
            return float(pooled.numel() * math.prod(kernel))
        if func in _MATRIX:
            first, second = args[-2:]
            bias = args[0].numel() if func is _ATEN.addmm.default else 0
            return float(first.shape[0] * second.numel() + bias)
        return 0.0


def _quickly(func: Any, args: tuple[Any, ...]) -> Any:
    """Return the result of calls whose shapes are known (torch's own rules for them take half of the time), else None."""
    if func is _ATEN.native_batch_norm.default and not args[5]:
        return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
    return torch.empty_like(args[0]) if func is _ATEN.relu.default else None


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


@contextmanager
def _fast_acdc(module: nn.Module, counter: _Counter) -> Iterator[None]:
    """Count ACDC layers by the published formula instead of their run, where the rules say so."""
    handles = []
    layers: list[tuple[Substituted, AcdcConv]] = []
    if counter.rules.acdc != "as it runs":
        for part in module.modules():
            last = list(part.children())[-1] if isinstance(part, Substituted) else None
            if isinstance(part, Substituted) and isinstance(last, AcdcConv):
                layers.append((part, last))

    def enter(layer: Substituted, pointwise: AcdcConv, given: tuple[Tensor, ...]) -> None:
        n, (x,) = pointwise.width, given
        each = len(pointwise.diagonals) * (4 * n + 5 * n * math.log2(n))
        if counter.rules.acdc == "fast or dense":
            each = min(each, n * n)
        stride = (1,) * (x.ndim - 2) if layer.shape.spatial else layer.shape.stride
        counter.total += each * math.prod(
            (length - 1) // s + 1 for length, s in zip(x.shape[2:], stride, strict=True)
        )

    def suspend(_: nn.Module, given: Any) -> None:
        counter.suspended += 1

    def resume(_: nn.Module, given: Any, result: Any) -> None:
        counter.suspended -= 1

    for layer, pointwise in layers:
        handles += [
            layer.register_forward_pre_hook(lambda part, given, last=pointwise: enter(part, last, given)),
            pointwise.register_forward_pre_hook(suspend),
            pointwise.register_forward_hook(resume),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
