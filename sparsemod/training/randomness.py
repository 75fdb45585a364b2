"""Torch's global random numbers during an epoch: each epoch has its own seed, so resuming needs no generator state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparsemod.seeds import derived_seed


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators (dropout uses them) for this epoch, and restore them afterwards."""
    devices = (
        [torch.cuda.current_device() if device.index is None else device.index]
        if device.type == "cuda"
        else []
    )
    with torch.random.fork_rng(devices=devices):
        value = derived_seed(seed, epoch, "module")
        torch.default_generator.manual_seed(value)
        for index in devices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(value)
        yield
