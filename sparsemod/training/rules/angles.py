"""The angle between a rule's gradient and that of backpropagation, epoch by epoch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Angles:
    """The angles, in degrees, of one training."""

    def __init__(self) -> None:
        self.degrees: list[float] = []

    def measure(self, module: nn.Module, own: Callable[[], object], exact: Callable[[], object]) -> None:
        """Add the angle between the gradients that `own` and `exact` write to the parameters.

        Buffers, gradients and random numbers are as before.
        """
        states = [torch.get_rng_state()] + (
            [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
        )
        buffers = [buffer.clone() for buffer in module.buffers()]
        found = []
        for run in (own, exact):
            run()
            found.append([None if p.grad is None else p.grad.detach().clone() for p in module.parameters()])
            module.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in zip(module.buffers(), buffers, strict=True):
                    buffer.copy_(before)
            torch.set_rng_state(states[0])
            if len(states) > 1:
                torch.cuda.set_rng_state(states[1])
        self.degrees.append(angle(*found))

    def state_dict(self) -> dict[str, Any]:
        """Return the angles so far."""
        return {"angles": torch.tensor(self.degrees, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the angles of a checkpoint."""
        self.degrees = state["angles"].tolist()


def angle(first: list[Tensor | None], second: list[Tensor | None]) -> float:
    """Return the angle in degrees between two gradients; a missing gradient of a parameter counts as zero."""
    product, lengths = 0.0, [0.0, 0.0]
    for a, b in zip(first, second, strict=True):
        for place, part in enumerate((a, b)):
            lengths[place] += 0.0 if part is None else float(part.double().square().sum())
        if a is not None and b is not None:
            product += float((a.double() * b.double()).sum())
    if not lengths[0] * lengths[1]:
        return 90.0
    cosine = max(-1.0, min(1.0, product / (lengths[0] * lengths[1]) ** 0.5))
    return float(torch.rad2deg(torch.arccos(torch.tensor(cosine, dtype=torch.float64))))
