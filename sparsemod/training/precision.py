"""Automatic mixed precision: forward and backward passes in 16 bits, weights and everything else in float32."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.spec.training import Precision


class MixedPrecision:
    """The arithmetic of one training.

    `forward()` is the context of a forward pass. float16 has a small range: `scaled(loss)` is the loss times a factor, and
    `step` divides the gradients by it. A step whose gradients are infinite is left out, and the factor halves. With
    float32, nothing differs from a training without this class.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.mixed = precision != "float32"
        self._kind, self._type = device.type, getattr(torch, precision)
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None

    def forward(self) -> AbstractContextManager[Any]:
        """Return the context in which operators that tolerate it compute in 16 bits."""
        return torch.autocast(self._kind, self._type) if self.mixed else nullcontext()

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the value whose gradients `step` expects."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], clip: float | None
    ) -> None:
        """Update the parameters; `clip` is the largest norm of their gradient."""
        if self._scaler is None:
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            return
        self._scaler.unscale_(optimizer)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the factor and its history as plain values; empty without a factor."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state))
