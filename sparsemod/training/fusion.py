"""Batch norm, relu and max-pooling as one autograd step, with a third of the passes over large activations.

With a scale that is not negative, batch norm and relu never change which value of a window is the largest:
pool(relu(norm(x))) = relu(norm(pool(x))). All work after the statistics then uses the pooled map, which has
a quarter of the size for 2 x 2 windows. The gradient of the large map is one scaled copy of x plus one
value per window. Values and gradients are equal up to rounding.

Convolutional networks of a few thousand weights spend more time in these passes than in the arithmetic of
their convolutions.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Step = Callable[[Tensor], Tensor]


@contextmanager
def fused(module: nn.Module) -> Iterator[None]:
    """Let every `nn.Sequential` of `module` run its chains of BatchNorm2d, ReLU, MaxPool2d as one step each.

    Only calls of the Sequential itself are affected. Code that iterates over its layers or adds hooks to
    them sees no difference.
    """
    changed: list[nn.Module] = []
    try:
        for layer in module.modules():
            if type(layer) is nn.Sequential and "forward" not in vars(layer):
                plan = _plan(list(_flat(layer)))
                if any(isinstance(step, _NormReluPool) for step in plan):
                    vars(layer)["forward"] = partial(_run, plan)
                    changed.append(layer)
        yield
    finally:
        for layer in changed:
            del vars(layer)["forward"]


def _run(plan: Iterable[Step], x: Tensor) -> Tensor:
    for step in plan:
        x = step(x)
    return x


def _flat(sequential: nn.Sequential) -> Iterator[nn.Module]:
    for layer in sequential:
        if type(layer) is nn.Sequential and not _has_hooks(layer):
            yield from _flat(layer)
        else:
            yield layer


def _plan(layers: list[nn.Module]) -> list[Step]:
    plan: list[Step] = []
    place = 0
    while place < len(layers):
        three = layers[place : place + 3]
        if len(three) == 3 and not any(_has_hooks(layer) for layer in three):
            norm, relu, pool = three
            if (
                type(norm) is nn.BatchNorm2d
                and norm.affine
                and norm.track_running_stats
                and norm.momentum is not None
                and type(relu) is nn.ReLU
                and type(pool) is nn.MaxPool2d
                and not pool.return_indices
            ):
                plan.append(_NormReluPool(norm, relu, pool))
                place += 3
                continue
        plan.append(layers[place])
        place += 1
    return plan


def _has_hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )


class _NormReluPool:
    """The three layers, as one step where that is exact, else one after the other."""

    def __init__(self, norm: nn.BatchNorm2d, relu: nn.ReLU, pool: nn.MaxPool2d) -> None:
        self.norm, self.relu, self.pool = norm, relu, pool
        kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
        self.window = (kernel, stride, _pair(pool.padding), _pair(pool.dilation), pool.ceil_mode)

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        exact = norm.training and x.device.type == "cpu" and x.dim() == 4 and x.numel() > x.shape[1]
        if not exact or bool((norm.weight < 0).any()):
            return self.pool(self.relu(norm(x)))  # type: ignore[no-any-return]
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        result: Tensor = _Function.apply(  # type: ignore[no-untyped-call]
            x,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            norm.momentum,
            norm.eps,
            self.window,
        )
        return result


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        window: tuple[Any, ...],
    ) -> Tensor:
        mean, var = torch.batch_norm_update_stats(x, running_mean, running_var, momentum)
        pooled, indices = torch.ops.aten.max_pool2d_with_indices(x, *window)
        y = functional.batch_norm(pooled, mean, var, weight, bias, False, 0.0, eps).relu_()
        ctx.save_for_backward(x, weight, mean, var, pooled, indices, y)
        ctx.eps, ctx.window = eps, window
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, pooled, indices, y = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        inverse = torch.rsqrt(var + ctx.eps)
        scale = weight * inverse
        g = torch.ops.aten.threshold_backward(gradient, y, 0)
        # Both sums run over the pooled map: the gradient is zero at every other place.
        bias_gradient = g.sum((0, 2, 3))
        weight_gradient = ((g * pooled).sum((0, 2, 3)) - mean * bias_gradient) * inverse
        if not ctx.needs_input_grad[0]:
            return None, weight_gradient, bias_gradient, None, None, None, None, None
        # dx = scale (g at the window's largest - mean of g - normalized x (mean of g normalized x)) = scale g + slope x + offset
        slope = -scale * weight_gradient * inverse / count
        offset = -scale * bias_gradient / count - slope * mean
        dx = torch.ops.aten.max_pool2d_with_indices_backward(
            g * scale.view(1, -1, 1, 1), x, *ctx.window, indices
        )
        dx.addcmul_(x, slope.view(1, -1, 1, 1)).add_(offset.view(1, -1, 1, 1))
        return dx, weight_gradient, bias_gradient, None, None, None, None, None


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
