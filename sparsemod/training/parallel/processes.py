"""A training in several processes of this machine: start the others, join them, and be process 0.

The other processes are fresh interpreters (`sparsemod.training.parallel.helper`), so that a training may start from any
process: forked, with CUDA in use, or from a script without a main guard. A folder in the system's folder for temporary
files holds the network and the data, the meeting point of torch.distributed and what the processes print.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.records import CurvePoint
from sparsemod.spec.training import TrainingSpec
from sparsemod.training.outcome import TrainingOutcome
from sparsemod.training.parallel.group import Group
from sparsemod.training.resident import Resident

FIELD = "training.processes"
ARGUMENTS = "arguments.pt"
_TIMEOUT = timedelta(hours=1)
_LINES = 20


def device_of(rank: int, first: torch.device) -> torch.device:
    """Return the device of a process: the CPU for all, or consecutive GPUs from `first`."""
    return first if first.type != "cuda" else torch.device("cuda", (first.index or 0) + rank)


def train_in_processes(
    train: Callable[..., TrainingOutcome],
    module: nn.Module,
    data: Resident,
    settings: TrainingSpec,
    on_epoch: Callable[[CurvePoint], None] | None,
    should_stop: Callable[[], bool] | None,
    on_checkpoint: Callable[[bytes], None] | None,
    *,
    device: torch.device,
    **arguments: Any,
) -> TrainingOutcome:
    """Train as `train` of `sparsemod.training` does, with its other `arguments`, in `settings.processes` processes.

    Raises InvalidInput for more processes than GPUs, within a program that has joined a process group itself, and for a
    network or a method that cannot be sent to another process; RuntimeError when another process fails; the errors of
    `train`.
    """
    size = settings.processes
    if torch.distributed.is_initialized():
        allowed = "1 in a program that has a process group of torch.distributed"
        raise InvalidInput(FIELD, size, allowed)
    if device.type == "cuda":
        most = torch.cuda.device_count() - (device.index or 0)
        if size > most:
            raise InvalidInput(FIELD, size, f"at most {most}, the number of GPUs from {device}")
    with tempfile.TemporaryDirectory(prefix="sparsemod-training-") as name:
        folder = Path(name)
        _write(
            folder,
            {"module": module, "data": data, "settings": settings, "device": device, "arguments": arguments},
        )
        with _helpers(folder, size) as helpers, joined(folder, 0, size, device) as group:
            try:
                return train(
                    module, data, settings, device=device, group=group, on_epoch=on_epoch, should_stop=should_stop,
                    on_checkpoint=on_checkpoint, **arguments,
                )  # fmt: skip
            except RuntimeError as error:
                # Within the group: the others wait for this process, unless one of them failed first.
                failed = _failed(folder, helpers, wait=5.0)
                if failed is None:
                    raise
                raise RuntimeError(failed) from error


@contextmanager
def joined(folder: Path, rank: int, size: int, device: torch.device) -> Iterator[Group]:
    """Join torch.distributed's default group as process `rank`: NCCL between GPUs, Gloo on the CPU."""
    own = device_of(rank, device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "nccl" if own.type == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, init_method=f"file://{folder / 'store'}", rank=rank, world_size=size, timeout=_TIMEOUT
    )
    try:
        yield Group(rank, size, own)
    finally:
        torch.distributed.destroy_process_group()


def _write(folder: Path, content: dict[str, Any]) -> None:
    content |= {"threads": torch.get_num_threads(), "path": sys.path}
    try:
        torch.save(content, folder / ARGUMENTS)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        allowed = f"1 for this network, which cannot be sent to another process ({error})"
        raise InvalidInput(FIELD, content["settings"].processes, allowed) from error


@contextmanager
def _helpers(folder: Path, size: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Start processes 1 to size - 1, wait until they are ready, and end them afterwards."""
    helpers: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    try:
        for rank in range(1, size):
            with (folder / f"{rank}.log").open("wb") as log:
                helpers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "sparsemod.training.parallel.helper", str(folder), str(rank)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=environment,
                    )
                )
        while not all((folder / f"{rank}.ready").exists() for rank in range(1, size)):
            failed = _failed(folder, helpers)
            if failed is not None:
                raise RuntimeError(failed)
            time.sleep(0.02)
        yield helpers
        for helper in helpers:
            helper.wait(60)
    finally:
        for helper in helpers:
            if helper.poll() is None:
                helper.kill()
            helper.wait()


def _failed(folder: Path, helpers: list["subprocess.Popen[bytes]"], wait: float = 0.0) -> str | None:
    """Return what a failed process printed last; None when none fails within `wait` seconds."""
    end = time.monotonic() + wait
    while True:
        for rank, helper in enumerate(helpers, 1):
            if helper.poll():
                lines = (folder / f"{rank}.log").read_text(errors="replace").splitlines()[-_LINES:]
                return "\n".join(
                    [f"process {rank} of the training ended with code {helper.returncode}", *lines]
                )
        if time.monotonic() >= end:
            return None
        time.sleep(0.05)
