"""The child's side of supervision.

It imports only the standard library, because every command runs it first.
"""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PARENT_VARIABLE = "SPARSEMOD_SUPERVISOR"
"""Environment variable that holds the supervisor's process id."""

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Make Linux kill this process when its parent process ends for any reason.

    Exit when `parent` has ended already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def die_first() -> None:
    """Make Linux kill this process before a server or a worker when the machine's memory runs out."""
    with contextlib.suppress(OSError):  # the file may be missing
        Path("/proc/self/oom_score_adj").write_text("500")


def outlive_parent() -> None:
    """Undo `die_with_parent`.

    Linux watches the thread that started this process, which may end before its process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def become_supervised() -> None:
    """Make this process end with its supervisor, if it has one."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is not None:
        die_with_parent(int(parent))
