"""Convolution with a kernel that the backward pass computes again: only the few weights stay in memory between the passes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from sparsemod.substitutes.base import ConvShape


class Computed(Protocol):
    """A convolution with a computed kernel, such as `sparsemod.substitutes.layers.ComputedConv`."""

    @property
    def shape(self) -> ConvShape: ...
    @property
    def groups(self) -> int: ...
    @property
    def bias(self) -> Tensor | None: ...
    def kernel(self) -> Tensor: ...
    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor: ...
    def padding(self) -> list[int]: ...
    def weights(self) -> Sequence[Tensor]: ...


def convolve(layer: Computed, x: Tensor) -> Tensor:
    """Return what `layer` computes, (N, outputs, ...), with the gradients of its weights and of `x`.

    Neither the kernel nor the intermediate results of its computation are held for the backward pass. Source of the
    principle: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    result: Tensor = _Rebuilt.apply(x, layer, layer.bias, *layer.weights())  # type: ignore[no-untyped-call]
    return result


class _Rebuilt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Computed, bias: Tensor | None, *weights: Tensor) -> Tensor:
        ctx.layer, kind = layer, x.device.type
        mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        ctx.mixed = (kind, torch.get_autocast_dtype(kind)) if mixed else None
        ctx.save_for_backward(x, bias, *weights)
        return layer.convolve(x, layer.kernel())

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        (x, bias, *weights), layer = ctx.saved_tensors, ctx.layer
        twice = torch.is_grad_enabled()  # the gradient is differentiated in turn
        wanted = [
            tensor
            for tensor, needed in zip((x, bias, *weights), _needed(ctx), strict=True)
            if needed and tensor is not None
        ]
        found: Sequence[Tensor]
        if twice:
            with _rebuilding(ctx):
                result = layer.convolve(x, layer.kernel())
            found = torch.autograd.grad(result, wanted, given, create_graph=True)
        else:
            with _rebuilding(ctx):
                kernel = layer.kernel()
            found = _of_convolution(layer, kernel, x, bias, weights, _needed(ctx), given)
        left = iter(found)
        shares = [next(left) if needed else None for needed in _needed(ctx)]
        return shares[0], None, *shares[1:]


@contextmanager
def _rebuilding(ctx: Any) -> Iterator[None]:
    """Record gradients, in the precision of the forward pass."""
    with torch.enable_grad(), nullcontext() if ctx.mixed is None else torch.autocast(*ctx.mixed):
        yield


def _needed(ctx: Any) -> list[bool]:
    """Return whether x, the bias and each weight need a gradient."""
    x, _, *others = ctx.needs_input_grad
    return [x, *others]


def _of_convolution(
    layer: Computed, kernel: Tensor, x: Tensor, bias: Tensor | None, weights: list[Tensor],
    needed: list[bool], given: Tensor,
) -> list[Tensor]:  # fmt: skip
    """Return the gradients of what is needed among x, bias and weights, without the convolution itself."""
    shape, padding = layer.shape, layer.padding()
    found: list[Tensor | None] = list(
        torch.ops.aten.convolution_backward(
            given, x.to(given.dtype), kernel.detach().to(given.dtype), None if bias is None else [len(bias)],
            list(shape.stride), padding, list(shape.dilation), False, [0] * len(padding), layer.groups,
            [needed[0], any(needed[2:]), needed[1]],
        )
    )  # fmt: skip
    of_x, of_kernel, of_bias = found
    result = [] if of_x is None else [of_x.to(x.dtype)]
    result += [] if of_bias is None or bias is None else [of_bias.to(bias.dtype)]
    if of_kernel is not None:
        trained = [weight for weight, need in zip(weights, needed[2:], strict=True) if need]
        result += torch.autograd.grad(kernel, trained, of_kernel.to(kernel.dtype))
    return result
