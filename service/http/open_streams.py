"""The streams that each owner holds open on this server process."""

import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from service.store.quotas import QuotaLimits


class OpenStreams:
    """Counts open streams by owner."""

    def __init__(self, limits: QuotaLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._open: Counter[str | None] = Counter()

    def used(self, owner: str | None) -> int:
        """Return the number of the owner's streams."""
        return self._open[owner]

    def begin(self, owner: str | None) -> None:
        """Count one more. Raises QuotaExceeded."""
        with self._lock:
            self._limits.check("streams", owner, self._open[owner], 1)
            self._open[owner] += 1

    def end(self, owner: str | None) -> None:
        """Count one less."""
        with self._lock:
            self._open[owner] -= 1
            if self._open[owner] <= 0:
                del self._open[owner]


async def _held(request: Request) -> AsyncIterator[None]:
    """Hold a place until the answer has ended, however it ends."""
    login = request.scope["sparsemod_login"]
    owner = None if login is None else login.owner
    streams: OpenStreams = request.app.state.open_streams
    streams.begin(owner)
    try:
        yield
    finally:
        streams.end(owner)


StreamPlace = Annotated[None, Depends(_held)]
