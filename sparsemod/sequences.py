"""Operators of networks on sequences whose samples have different numbers of valid steps.

A network with the attribute `uses_lengths = True` has `forward(x, lengths=None)`: `lengths` int64 (N,) are the valid steps of each
sample, the first ones; the rest is padding. These functions, and recurrent layers on packed sequences, read them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Padded:
    """A batch of sequences: `x` (N, ...) with zeros after the first `lengths` (N,) steps of each sample."""

    x: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice) -> "Padded":
        return Padded(self.x[part], self.lengths[part])


Batch = Tensor | Padded


def call(module: nn.Module, batch: Batch) -> Tensor:
    """Return the outputs of a batch. Only a module with `uses_lengths` gets the lengths; others see the padding."""
    outputs: Tensor
    if isinstance(batch, Tensor):
        outputs = module(batch)
    elif getattr(module, "uses_lengths", False):
        outputs = module(batch.x, batch.lengths)
    else:
        outputs = module(batch.x)
    return outputs


@contextmanager
def plain_kernels(module: nn.Module) -> Iterator[None]:
    """Run recurrent layers by kernels that have gradients in evaluation mode, and gradients of these gradients.

    The kernels of cuDNN have not. A network without recurrent layers runs as usual.
    """
    if not any(isinstance(part, nn.RNNBase) for part in module.modules()):
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


def tensor_of(batch: Batch) -> Tensor:
    """Return the samples of a batch without their lengths."""
    return batch if isinstance(batch, Tensor) else batch.x


@torch.library.custom_op("sparsemod::last_step", mutates_args=())
def _last_step(x: Tensor, lengths: Tensor) -> Tensor:
    return x[torch.arange(len(x), device=x.device), lengths.to(x.device) - 1].clone()


@_last_step.register_fake
def _(x: Tensor, lengths: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[2])


@torch.library.custom_op("sparsemod::mean_steps", mutates_args=())
def _mean_steps(x: Tensor, lengths: Tensor) -> Tensor:
    counts = lengths.to(x.device)
    return (x * _valid(x, counts)).sum(1) / counts[:, None]


@_mean_steps.register_fake
def _(x: Tensor, lengths: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[2])


def _valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 for valid steps and 0 for padding, (N, T, 1)."""
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).to(x.dtype)[..., None]


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    x, lengths = inputs
    ctx.shape, ctx.lengths = x.shape, lengths.to(x.device)  # type: ignore[attr-defined]


def _last_gradient(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
    made = gradient.new_zeros(ctx.shape)  # type: ignore[attr-defined]
    made[torch.arange(len(made), device=made.device), ctx.lengths - 1] = gradient  # type: ignore[attr-defined]
    return made, None


def _mean_gradient(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
    lengths: Tensor = ctx.lengths  # type: ignore[attr-defined]
    spread = (gradient / lengths[:, None])[:, None].expand(ctx.shape)  # type: ignore[attr-defined]
    return spread * _valid(spread, lengths), None


_last_step.register_autograd(_last_gradient, setup_context=_keep)
_mean_steps.register_autograd(_mean_gradient, setup_context=_keep)


def last_step(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return each sample's last valid step (N, F) of `x` (N, T, F); of full samples without `lengths` (N,)."""
    made: Tensor = x[:, -1] if lengths is None else _last_step(x, lengths)
    return made


def mean_steps(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over each sample's valid steps (N, F) of `x` (N, T, F); over all without `lengths` (N,)."""
    made: Tensor = x.mean(1) if lengths is None else _mean_steps(x, lengths)
    return made
