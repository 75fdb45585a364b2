"""Bounded waiting: how many requests run at once, how many wait for their turn, and for how long.

Every access to the database or the disk runs in a thread. If all requests shared the threads, claims that
wait for one locked row would block every other request. So each kind of request has its own places; the
health check and the dashboard's files need none of them.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ParamSpec, TypeVar

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.early_answer import refuse
from service.http.request_path import inner_path
from sparsemod.errors import ServerUnavailable

P = ParamSpec("P")
T = TypeVar("T")

WAIT_SECONDS = 5.0
"""How long a request waits for a place before it is answered with 503."""

MOST_WAITING = 200
"""How many requests of a kind may wait; further ones are answered with 503."""


class Busy(ServerUnavailable):
    """The server is overloaded; the client may repeat the request in a moment."""


class RequestPool:
    """`places` for work of one kind. Call its methods in the event loop only."""

    def __init__(
        self, kind: str, places: int, *, wait: float = WAIT_SECONDS, most: int = MOST_WAITING
    ) -> None:
        self._kind, self._wait, self._most = kind, wait, most
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place during a `with` block. Raises Busy when none becomes free in time."""
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # does not wait
            return
        if self._waiting >= self._most:
            raise Busy(f"{self._most} {self._kind} are waiting already; try again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"too many {self._kind} at once; try again in a moment") from None
        finally:
            self._waiting -= 1

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread that no other pool uses. Raises Busy when no place becomes free in time."""
        async with self.place():
            # A new limiter, because the places are the limit.
            return await anyio.to_thread.run_sync(
                functools.partial(function, *args, **kwargs), limiter=anyio.CapacityLimiter(1)
            )


WORKERS = "requests of workers"

PLACES = {WORKERS: 16, "requests": 14, "requests for tables": 4}
"""How many requests of each kind run at once."""


def pools() -> dict[str, RequestPool]:
    """Return a pool for each kind of request."""
    return {kind: RequestPool(kind, places) for kind, places in PLACES.items()}


class Turns:
    """ASGI middleware: take a place for each request of a worker, of a user or for a table before its
    endpoint is called.

    All places together are fewer than the framework's threads, so that event streams always get one. These
    requests need no place: health, the dashboard's files, streams (they last), uploads and downloads (each of
    their steps takes a place in another pool).
    """

    def __init__(self, app: ASGIApp, pools: Mapping[str, RequestPool]) -> None:
        self._app, self._pools = app, pools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = None if scope["type"] != "http" else kind_of(inner_path(scope), scope["query_string"])
        if kind is None:
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._pools[kind].place())
            except Busy as error:
                await refuse(error, receive, send)
                return
            await self._app(scope, receive, send)


def kind_of(path: str, query: bytes = b"") -> str | None:
    """Return the pool for `path`, or None when no place is needed.
    A table may be large and lasts as long as its reader takes."""
    first, _, rest = path.removeprefix("/").partition("/")
    if first in ("claims", "attempts"):
        return WORKERS
    if first in (
        "experiments",
        "pareto",
        "workers",
        "login",
        "logout",
        "me",
        "catalogue",
        "audit",
        "metrics",
        "quota",
        "webhooks",
    ):
        if rest.endswith("/stream"):
            return None
        return "requests for tables" if b"csv" in query else "requests"
    return None
