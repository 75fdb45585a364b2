"""Settings of a training process, and its devices. Importing the library changes no settings."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparsemod.errors import InvalidInput

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def tune_process(threads: int = 1) -> bool:
    """Configure this process for training: `threads` for torch, and freed memory kept for the next step.

    By default glibc returns large freed blocks to the kernel, so every training step faults the same
    megabytes in again. For networks of a few thousand weights that costs up to a third of the time. This
    setting keeps blocks up to 1 GiB until the process ends. Returns whether the allocator accepted the
    setting (glibc only). It affects the whole process: call it in a worker, not in a library.
    """
    torch.set_num_threads(threads)
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, 1 << 30) == 1 for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: tiny networks train fastest this way, and equal seeds give equal results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_device(name: str, field: str = "device") -> str:
    """Return `name` when torch can use that device here. Raises InvalidInput."""
    kind, _, number = name.partition(":")
    if kind == "cpu" and not number:
        return name
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if kind != "cuda" or (number and not number.isdecimal()) or int(number or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
        raise InvalidInput(field, name, f"an available device: {there}")
    return name


def chosen_device(named: str | None, preferred: str | None, field: str = "device") -> str:
    """Return the device `named` by the user, else `preferred` where torch has it, else the CPU.

    Raises InvalidInput when torch cannot use `named` here.
    """
    if named is not None:
        return require_device(named, field)
    try:
        return require_device(preferred or "cpu")
    except InvalidInput:
        return "cpu"
