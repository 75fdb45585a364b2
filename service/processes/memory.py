"""Memory of processes, as the limits of child processes count it."""

import os
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Return the resident bytes of a process (anonymous and shared memory, no mapped files), 0 after its
    end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(int(words[1]) for words in lines)


def half_of_memory() -> int:
    """Return half of this machine's memory in bytes, the default limit of a child process."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def over_limit(resident: int, limit: int) -> str:
    """Describe a process that used `resident` bytes where `limit` bytes are allowed."""
    return f"used {resident / 1e6:,.0f} MB of memory; {limit / 1e6:,.0f} MB are allowed"
