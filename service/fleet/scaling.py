"""How many workers a fleet wants: a fixed number, or one that follows the queue."""

from collections import deque
from dataclasses import dataclass
from typing import Self

from sparsemod.errors import InvalidInput

HOLD_SECONDS = 30.0
"""Seconds that the need must stay lower until workers are drained. A new worker takes some seconds to start."""

MOST_WORKERS = 10_000
"""Limit of --workers and --max."""


@dataclass(frozen=True)
class Bounds:
    """Least and most workers, and their number at the start."""

    lowest: int
    highest: int
    first: int

    @classmethod
    def of(cls, workers: int | None, lowest: int | None, highest: int | None) -> Self:
        """Return the bounds that the options --workers, --min and --max give.

        Only --workers: a fixed number. --max: from --min (default 0) to --max, first --workers (default: --min).
        --min with --workers: from --min to --workers. Raises InvalidInput.
        """
        for option, value in (("--workers", workers), ("--min", lowest), ("--max", highest)):
            if value is not None and not 0 <= value <= MOST_WORKERS:
                raise InvalidInput(option, value, f"a number of workers from 0 to {MOST_WORKERS}")
        if highest is None and workers is None:
            if lowest is None:
                raise InvalidInput("--workers", None, "a number of workers, or --min and --max")
            raise InvalidInput("--max", None, "the most workers, together with --min")
        most = highest if highest is not None else workers
        if most is None or most == 0:
            raise InvalidInput("--max" if workers is None else "--workers", most, "at least 1")
        least = lowest if lowest is not None else (0 if highest is not None else most)
        if least > most:
            raise InvalidInput("--min", least, f"at most {most}, the most workers")
        first = workers if workers is not None else least
        if not least <= first <= most:
            raise InvalidInput("--workers", first, f"from --min {least} to --max {most}")
        return cls(least, most, first)

    @property
    def fixed(self) -> bool:
        """Return whether the number never changes."""
        return self.lowest == self.highest


@dataclass(frozen=True)
class Demand:
    """Trials that workers can claim, and the fleet's workers that hold trials."""

    queued: int
    busy: frozenset[str]

    @property
    def workers(self) -> int:
        """Return how many workers would have a trial each."""
        return self.queued + len(self.busy)


class Scaling:
    """Follows the demand: up at once, down to the highest need of the last `hold` seconds."""

    def __init__(self, bounds: Bounds, hold: float = HOLD_SECONDS) -> None:
        self._bounds, self._hold = bounds, hold
        self._needs: deque[tuple[float, int]] = deque()
        self._wanted = bounds.first

    def wanted(self, now: float, demand: Demand | None) -> int:
        """Return the wanted number of workers at `now`, in seconds of any steady clock.

        None: the demand is unknown, and the number stays.
        """
        if demand is not None and not self._bounds.fixed:
            if not self._needs:
                self._needs.append((now, self._wanted))
            need = min(max(demand.workers, self._bounds.lowest), self._bounds.highest)
            # The window holds falling needs only: an older and lower one decides nothing.
            while self._needs and self._needs[-1][1] <= need:
                self._needs.pop()
            self._needs.append((now, need))
            while self._needs[0][0] < now - self._hold and len(self._needs) > 1:
                self._needs.popleft()
            self._wanted = self._needs[0][1]
        return self._wanted
