"""Fake quantization: a network is trained with the rounding of int8 weights and activations.

Weights are rounded as `sparsemod.quantization` does, symmetric per output channel. That does not depend on a batch
norm behind them, which scales whole channels. The inputs of layers with weights are rounded to int8 with the range of
the batches so far. Gradients pass the rounding unchanged (straight-through estimator).

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_WEIGHT_MAX = 127
_STEPS = 255
_MOMENTUM = 0.1
"""Share of a batch in the running range, as of batch norm's statistics."""

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


class _Weights(nn.Module):
    """Rounds weights (O, ...) to 255 steps of each output channel's largest absolute value."""

    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.detach().abs().flatten(1).amax(1)
        scale = (flat / _WEIGHT_MAX).clamp_min(1e-30).view(-1, *(1,) * (weight.ndim - 1))
        return weight + ((weight / scale).round() * scale - weight).detach()


class _Inputs:
    """A hook that rounds a layer's input to int8 with a running range; evaluation does not change the range."""

    def __init__(self) -> None:
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x, *rest = inputs
        if module.training or self.low is None or self.high is None:
            low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
            if self.low is None or self.high is None:
                self.low, self.high = low, high
            else:
                self.low, self.high = self.low.lerp(low, _MOMENTUM), self.high.lerp(high, _MOMENTUM)
        scale = ((self.high - self.low) / _STEPS).clamp_min(1e-30)
        zero = (-self.low / scale).round()
        rounded = ((x / scale).round() + zero).clamp(0, _STEPS).sub(zero) * scale
        return (x + (rounded - x).detach(), *rest)


@contextmanager
def fake_quantized(module: nn.Module) -> Iterator[None]:
    """Let every convolution and linear layer of `module` compute with rounded weights and inputs.

    Afterwards the module has its own float weights again, as the training has left them.
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, _LAYERS) and not parametrize.is_parametrized(layer)
    ]
    hooks = []
    try:
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", _Weights())
            hooks.append(layer.register_forward_pre_hook(_Inputs()))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            if parametrize.is_parametrized(layer):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


class KeepZeros:
    """A pruner that keeps the zeros of weights: fine-tuning must not bring pruned weights back."""

    restarts = False
    at_target = True
    sparsity = 0.0

    def __init__(self, config: Any) -> None:
        self.config = config
        self._zeros: list[tuple[Tensor, Tensor]] = []

    def start(self, context: Any) -> None:
        """Note the zeros of every tensor with two or more axes."""
        tensors = [p for p in context.module.parameters() if p.ndim > 1]
        self._zeros = [(t, t.detach() == 0) for t in tensors if bool((t.detach() == 0).any())]
        every = sum(t.numel() for t in tensors)
        self.sparsity = sum(int(zero.sum()) for _, zero in self._zeros) / every if every else 0.0

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """Do nothing: the zeros are fixed."""

    def after_step(self) -> None:
        """Set the pruned weights to zero again."""
        with torch.no_grad():
            for tensor, zero in self._zeros:
                tensor.masked_fill_(zero, 0.0)

    def finish(self) -> None:
        """Release the tensors."""
        self._zeros = []

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the zeros are in the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""
