"""The memory format of convolutions: channels last where the network runs with it."""

from contextlib import AbstractContextManager

import torch
from torch import nn

from sparsemod.graph.capture import evaluating
from sparsemod.sequences import Batch, call
from sparsemod.training.checkpoint import restore_module, snapshot
from sparsemod.training.randomness import seeded


def set_memory_format(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Convert the kernels of convolutions to `memory_format`; the parameters stay the same objects."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def runs_on(
    module: nn.Module, batch: Batch, layers: AbstractContextManager[None], seed: int, device: torch.device
) -> bool:
    """Return whether the module accepts a batch in its memory format, in training, within `layers`, and in evaluation.

    The module is not changed.
    """
    before = snapshot(module)
    try:
        with evaluating(module), torch.no_grad(), seeded(seed, 0, device):
            module.train()
            with layers:
                call(module, batch)
            call(module.eval(), batch)
    except RuntimeError:
        return False
    finally:
        restore_module(module, before)
    return True
