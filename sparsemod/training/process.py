"""Settings of a whole process that trains small networks on the CPU. The library never applies them by itself."""

import ctypes
import platform

import torch

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
