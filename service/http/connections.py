"""Connections that send half a request head, or nothing, end after a while: uvicorn itself would keep them open for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""How long the head of a request may take to come, from the beginning of the connection or from its first byte."""

MOST_CONNECTIONS = 1000
"""Connections and requests beyond so many are answered with 503."""

_Protocol: Any = AutoHTTPProtocol


class TimedProtocol(_Protocol):  # type: ignore[misc]
    """uvicorn's protocol with a time limit for the head of a request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection has begun: its first request must come in time."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Data have come: as soon as they complete a head, the limit is over; the first part of another head begins a new one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
