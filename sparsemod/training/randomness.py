"""Seeds of an epoch: resuming needs no generator state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparsemod.files import fingerprint


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """Return a separate seed for every epoch and purpose, so that resuming needs no generator state."""
    return int.from_bytes(bytes.fromhex(fingerprint(f"{seed}/{epoch}/{purpose}")[:16]), "little") >> 1


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
