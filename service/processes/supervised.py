"""The child's half of supervision; imports nothing but the standard library, because every command runs it first."""

import ctypes
import os
import signal

PARENT_VARIABLE = "SPARSEMOD_SUPERVISOR"
"""Environment variable by which a child knows the supervisor's process id."""

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have Linux kill this process when process `parent`, which started it, ends, however that ends. Ends at once if it is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Take `die_with_parent` back. Linux means the thread that started this process, which may end before its process does."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def become_supervised() -> None:
    """End with the supervisor that started this process, if one did."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is not None:
        die_with_parent(int(parent))
