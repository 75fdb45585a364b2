"""Log lines of an attempt on their way to the server: held while it is away, and bounded however much a trial prints."""

import threading
from collections import deque

from service.schemas.trials import LogLine

LONGEST_LINE = 10_000
"""Characters of a line that are kept."""

HELD = 5000
"""Lines that are held; beyond that the oldest go."""

PRINTED = 20_000
"""Lines of what a child prints that are kept of one attempt."""


class TrialLog:
    """Takes lines from one thread and gives them out in batches to another. What is left out is said in a line of its own."""

    def __init__(self, held: int = HELD, printed: int = PRINTED) -> None:
        self._held, self._most = held, printed
        self._lock = threading.Lock()
        self._lines: deque[LogLine] = deque()
        self._first = 0  # number of the oldest line that is held
        self._told = 0  # lines before this one were sent, or said to be missing
        self._printed = 0

    def add(self, text: str, level: str, when: float) -> None:
        """Hold a line, cut to what is kept of one."""
        if len(text) > LONGEST_LINE:
            text = f"{text[: LONGEST_LINE - 1]}…"
        with self._lock:
            self._lines.append(LogLine(time=when, level=level[:40], message=text))
            while len(self._lines) > self._held:
                self._lines.popleft()
                self._first += 1

    def output(self, text: str, when: float) -> None:
        """Hold a line that the child printed, as long as there were not too many."""
        self._printed += 1
        if self._printed <= self._most:
            self.add(text, "output", when)
        elif self._printed == self._most + 1:
            self.add(
                f"the trial has printed {self._most:,} lines; further ones are not kept", "warning", when
            )

    def batch(self, most: int) -> tuple[list[LogLine], int]:
        """Up to `most` of the oldest lines, and the mark to give to `sent` once they are."""
        with self._lock:
            missing = self._first - self._told
            lines = [self._lines[i] for i in range(min(most - (missing > 0), len(self._lines)))]
            mark = self._first + len(lines)
            if missing:
                text = f"{missing:,} lines are missing here: they came faster than they could be sent"
                lines.insert(0, LogLine(time=self._lines[0].time, level="warning", message=text))
            return lines, mark

    def sent(self, mark: int) -> None:
        """Let go of a batch; of its lines, some may have made room for newer ones meanwhile."""
        with self._lock:
            self._told = max(self._told, mark)
            while self._first < mark:
                self._lines.popleft()
                self._first += 1

    def __len__(self) -> int:
        """How many lines wait."""
        with self._lock:
            return len(self._lines)
