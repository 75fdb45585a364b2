"""Bounded waiting: how many requests work at once, how many wait for their turn, and for how long.

Everything that a request does with the database or the disk happens in a thread. If all requests shared the threads, claims that wait for
one locked row would keep the server from answering anything. So each kind of request has its own places, and the check of the server's
health and the page need none of them.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
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
"""How long a request waits for its turn before it is answered with 503."""

MOST_WAITING = 200
"""How many requests of a kind wait at once; further ones are answered with 503."""


class Busy(ServerUnavailable):
    """The server has too much to do; the request can be repeated in a moment."""


class Pool:
    """`places` for work of one kind. Its methods belong to the event loop."""

    def __init__(
        self, kind: str, places: int, *, wait: float = WAIT_SECONDS, most: int = MOST_WAITING
    ) -> None:
        self._kind, self._wait, self._most = kind, wait, most
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for the time of a `with` block. Raises Busy when none becomes free in time."""
        if self._waiting >= self._most:
            raise Busy(f"{self._most} {self._kind} wait already; ask again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"too many {self._kind} at once; ask again in a moment") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread that no other pool uses. Raises Busy."""
        async with self.place():
            # A limiter of its own: the places are the limit.
            return await anyio.to_thread.run_sync(
                functools.partial(function, *args, **kwargs), limiter=anyio.CapacityLimiter(1)
            )


PLACES = {"requests of workers": 16, "requests": 14, "requests for tables": 4}
"""How many requests of each kind work at once."""


class Turns:
    """ASGI middleware: a place for each request of workers, of people, and for tables, before its endpoint is called.

    The places of all together are fewer than the threads of the framework, so that streams of events always find one. Requests that need
    none: health, the page, streams (they last), uploads and downloads (each step of them takes a place in a pool of its own).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pools = {kind: Pool(kind, places) for kind, places in PLACES.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = None if scope["type"] != "http" else kind_of(inner_path(scope), scope["query_string"])
        if kind is None:
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._pools[kind].place())
            except Busy as error:
                await refuse(error, receive, send)
                return
            await self._app(scope, receive, send)


def kind_of(path: str, query: bytes = b"") -> str | None:
    """The pool of requests for `path`, None for those that need no place. Tables may be large, and last as long as their reader takes."""
    first, _, rest = path.removeprefix("/").partition("/")
    if first in ("claims", "attempts"):
        return "requests of workers"
    if first in ("experiments", "pareto", "workers", "login", "logout", "me", "catalogue"):
        if rest.endswith("/stream"):
            return None
        return "requests for tables" if b"csv" in query else "requests"
    return None
