"""Buffer for the log lines of an attempt.

It keeps lines while the server is unavailable and bounds their number.
"""

import threading
from collections import deque

from service.schemas.trials import LogLine

LONGEST_LINE = 10_000
"""Characters after which a line is cut."""

HELD = 5000
"""Maximum number of buffered lines. Beyond it the oldest are dropped."""

PRINTED = 20_000
"""Maximum number of printed lines that are kept for one attempt."""


class TrialLog:
    """Takes lines from one thread and returns them in batches to another.

    A warning line reports dropped lines.
    """

    def __init__(self, capacity: int = HELD, printed: int = PRINTED) -> None:
        self._capacity, self._most = capacity, printed
        self._lock = threading.Lock()
        self._lines: deque[LogLine] = deque()
        self._first = 0  # number of the oldest buffered line
        self._reported = 0  # lines before this number were sent or reported as missing
        self._printed = 0

    def add(self, text: str, level: str, when: float) -> None:
        """Buffer a line, cut to LONGEST_LINE characters."""
        if len(text) > LONGEST_LINE:
            text = f"{text[: LONGEST_LINE - 1]}…"
        with self._lock:
            self._lines.append(LogLine(time=when, level=level[:40], message=text))
            while len(self._lines) > self._capacity:
                self._lines.popleft()
                self._first += 1

    def output(self, text: str, when: float) -> None:
        """Buffer a line that the child printed, up to the maximum number of printed lines."""
        self._printed += 1
        if self._printed <= self._most:
            self.add(text, "output", when)
        elif self._printed == self._most + 1:
            self.add(
                f"the trial has printed {self._most:,} lines; further lines are dropped", "warning", when
            )

    def batch(self, most: int) -> tuple[list[LogLine], int]:
        """Return up to `most` of the oldest lines, and the mark to pass to `sent` after sending them."""
        with self._lock:
            missing = self._first - self._reported
            lines = [self._lines[i] for i in range(min(most - (missing > 0), len(self._lines)))]
            mark = self._first + len(lines)
            if missing:
                text = (
                    f"{missing:,} lines are missing here: the trial printed faster than the worker could send"
                )
                lines.insert(0, LogLine(time=self._lines[0].time, level="warning", message=text))
            return lines, mark

    def sent(self, mark: int) -> None:
        """Drop a sent batch. Some of its lines may have been dropped already."""
        with self._lock:
            self._reported = max(self._reported, mark)
            while self._first < mark:
                self._lines.popleft()
                self._first += 1

    def __len__(self) -> int:
        """Return the number of buffered lines."""
        with self._lock:
            return len(self._lines)
