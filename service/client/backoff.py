"""Pauses between retries: each is about twice the previous one, with jitter, so that many clients do not
return at once.

stamina repeats requests elsewhere. Its pauses cannot be interrupted, so loops that a stop request must end at
once use these pauses.
"""

import random
import time
from collections.abc import Callable


class Backoff:
    """Pauses from `first` to `longest` seconds. Each is uniform between half of the current step and the whole step."""

    def __init__(self, first: float, longest: float, factor: float = 2.0) -> None:
        self._first, self._longest, self._factor = first, longest, factor
        self._step = first
        self.tries = 0

    def pause(self) -> float:
        """Return the seconds to wait before the next try."""
        step, self._step = self._step, min(self._step * self._factor, self._longest)
        self.tries += 1
        return random.uniform(step / 2, step)

    def wait(self, ended: Callable[[], bool]) -> None:
        """Pause. End the pause early when `ended()` becomes true."""
        until = time.monotonic() + self.pause()
        while time.monotonic() < until and not ended():
            time.sleep(min(0.05, self._step))

    def reset(self) -> None:
        """Start with the first pause again, after a success."""
        self._step, self.tries = self._first, 0
