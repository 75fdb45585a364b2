"""Linear layers and convolutions whose error goes backwards through other weights."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


def apply(layer: nn.Linear | nn.Conv1d | nn.Conv2d, x: Tensor, backward: Tensor) -> Tensor:
    """Return the layer's output; gradients of its weights are exact, that of `x` goes through `backward`.

    `backward` has the shape of the layer's weight and gets no gradient.
    """
    own = _run(layer, x.detach(), layer.weight, layer.bias)
    if not x.requires_grad:
        return own
    other = _run(layer, x, backward.detach(), None)
    return own + (other - other.detach())  # adds 0, and the gradient with respect to x


def _run(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, bias)
    result: Tensor = layer._conv_forward(x, weight, bias)
    return result
