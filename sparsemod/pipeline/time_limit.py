"""A time limit for a trial in this process; a worker sets one in its child process."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sparsemod.pipeline.reporter import Forwarding, Reporter
from sparsemod.records import CurvePoint


class TimeUp(BaseException):
    """Error raised when the time limit is reached.

    It is not an Exception, so that a family's code does not catch it.
    """


class Timed(Forwarding):
    """A reporter that forwards to `reporter` and raises TimeUp after `seconds`.

    `at` is the current stage of the pipeline.
    """

    def __init__(self, reporter: Reporter, seconds: float) -> None:
        super().__init__(reporter)
        self._end = time.monotonic() + seconds
        self.at = "start"

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            raise TimeUp

    def stage(self, name: str) -> None:
        """See Reporter."""
        self._check_time()
        self.at = name
        super().stage(name)

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""
        self._check_time()
        super().point(point)

    def should_stop(self) -> bool:
        """See Reporter."""
        self._check_time()
        return super().should_stop()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the body after `seconds`, also while it sleeps or computes in Python.

    It uses SIGALRM, which only the main thread receives. In other threads it does nothing; there `Timed`
    ends a trial between two epochs or stages.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, min(seconds, 1e8))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
