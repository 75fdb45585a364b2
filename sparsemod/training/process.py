"""Settings of a process that trains small networks, and the devices that it has. Importing the library changes none of them."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparsemod.errors import InvalidInput

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def tune_process(threads: int = 1) -> bool:
    """Make this process fit for training: `threads` of torch, and freed memory kept for the next step.

    glibc hands large freed blocks back to the kernel, and every step of a training faults the same megabytes in again: up to a third of the
    time for networks of a few thousand weights. Blocks up to 1 GiB are kept from now on, until the process ends.
    Returns whether the allocator took the setting (glibc only). Affects the whole process; call it in a worker, not in a library.
    """
    torch.set_num_threads(threads)
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, 1 << 30) == 1 for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within it: tiny networks train fastest so, and equal seeds then give equal results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_device(name: str, field: str = "device") -> str:
    """`name` when torch can use that device here. Raises InvalidInput."""
    kind, _, number = name.partition(":")
    if kind == "cpu" and not number:
        return name
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if kind != "cuda" or (number and not number.isdecimal()) or int(number or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
        raise InvalidInput(field, name, f"an available device: {there}")
    return name
