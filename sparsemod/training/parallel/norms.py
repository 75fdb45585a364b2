"""Batch normalization with the statistics of the whole batch, which several processes share.

torch.nn.SyncBatchNorm does this on GPUs only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


@contextmanager
def synchronized(module: nn.Module, idle: Callable[[], bool]) -> Iterator[None]:
    """Let the batch norms of `module` use the samples of all processes in training mode.

    `idle` returns whether this process computes samples that are no part of the batch.
    """
    changed = [
        layer for layer in module.modules() if isinstance(layer, _BatchNorm) and "forward" not in vars(layer)
    ]
    try:
        for layer in changed:
            vars(layer)["forward"] = partial(_normalized, layer, idle)
        yield
    finally:
        for layer in changed:
            del vars(layer)["forward"]


def _normalized(layer: Any, idle: Callable[[], bool], x: Tensor) -> Tensor:
    if not layer.training and layer.running_mean is not None:
        return functional.batch_norm(
            x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps
        )
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    values = x.float()
    own = 0.0 if idle() else 1.0
    elements = values.new_tensor([own * x.numel() / x.shape[1]])
    sums: Tensor = _Sum.apply(torch.cat([own * values.sum(axes), elements]))  # type: ignore[no-untyped-call]
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = values - mean.view(shape)
    squares: Tensor = _Sum.apply(own * centred.square().sum(axes))  # type: ignore[no-untyped-call]
    variance = squares / count
    _follow(layer, mean.detach(), variance.detach() * count / (count - 1))
    found = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        found = found * layer.weight.view(shape) + layer.bias.view(shape)
    made: Tensor = found.to(x.dtype)
    return made


def _follow(layer: Any, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, as torch's batch norm does."""
    if not layer.training or not layer.track_running_stats or layer.running_mean is None:
        return
    layer.num_batches_tracked.add_(1)
    factor = 1.0 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    with torch.no_grad():
        layer.running_mean.lerp_(mean, factor)
        layer.running_var.lerp_(variance, factor)
