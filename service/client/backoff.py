"""Pauses between the tries of something that fails: each about twice the one before, with jitter, so that many clients do not come back at once."""

import random


class Backoff:
    """Pauses from `first` to `longest` seconds. Each is drawn between half of its step and the whole."""

    def __init__(self, first: float, longest: float, factor: float = 2.0) -> None:
        self._first, self._longest, self._factor = first, longest, factor
        self._step = first
        self.tries = 0

    def pause(self) -> float:
        """Seconds to wait before the next try."""
        step, self._step = self._step, min(self._step * self._factor, self._longest)
        self.tries += 1
        return random.uniform(step / 2, step)

    def reset(self) -> None:
        """After a success: begin with the first pause again."""
        self._step, self.tries = self._first, 0
