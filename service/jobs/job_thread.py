"""The thread that runs the queued jobs of one kind, one at a time, each in a child process."""

import threading
from collections.abc import Callable

from service.processes.task_process import TaskProcess

IDLE_SECONDS = 1.0
"""Pause between two looks for jobs that another server has queued."""

JOIN_SECONDS = 10.0
"""Seconds that `close` waits for the current job to end."""


class JobThread:
    """`one` runs one queued job and returns whether there was one; it must not raise. `start` makes the process of the jobs."""

    def __init__(self, name: str, one: Callable[[], bool], start: Callable[[], TaskProcess]) -> None:
        self._name, self._one, self._start = name, one, start
        self.process = start()
        self._ending, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ending(self) -> bool:
        """Whether `close` was called: the current job is cut off and must be queued again."""
        return self._ending.is_set()

    def begin(self) -> None:
        """Start the thread. It also runs jobs queued by other servers or before a restart."""
        self._ending.clear()
        self.process = self._start()
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for queued jobs now."""
        self._wake.set()

    def close(self) -> None:
        """End the process and the thread."""
        self._ending.set()
        self._wake.set()
        self.process.close()
        if self._thread is not None:
            self._thread.join(timeout=JOIN_SECONDS)

    def _work(self) -> None:
        try:
            while not self.ending:
                if self._one():
                    continue
                self.process.end()  # free the memory of torch and the formats' libraries
                self._wake.wait(IDLE_SECONDS)
                self._wake.clear()
        finally:
            self.process.end()
