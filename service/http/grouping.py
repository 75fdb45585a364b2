"""Requests that wait at the same time are answered by one call in a thread."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from service.http.pools import MOST_WAITING, WAIT_SECONDS, Busy

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_AT_ONCE = 64
"""Largest number of requests in one call."""


GATHER_SECONDS = 0.02
"""Shortest time between the starts of two calls: under load, a call then has several requests. A request that comes
after a pause is answered at once."""


@dataclass(eq=False)
class Waiting(Generic[Item, Answer]):
    """A request that waits for its answer, with the context variables of its task."""

    item: Item
    future: "asyncio.Future[Answer]"
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Group(Generic[Item, Answer]):
    """Collects requests while a call runs. Call its methods in the event loop only.

    `run` gets the requests that wait, at most MOST_AT_ONCE, in a thread; only one call runs at a time. It returns an
    answer for each of them, in their order; an answer that is an exception is raised where the request waits.
    """

    def __init__(
        self,
        kind: str,
        run: Callable[[Sequence[Waiting[Item, Answer]]], Sequence[Answer | Exception]],
        *,
        wait: float = WAIT_SECONDS,
        most: int = MOST_WAITING,
    ) -> None:
        self._kind, self._run, self._wait, self._most = kind, run, wait, most
        self._waiting: dict[Waiting[Item, Answer], asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._limiter: anyio.CapacityLimiter | None = None

    async def ask(self, item: Item) -> Answer:
        """Return the answer to a request. Raises Busy when too many wait, or when its turn does not come in time."""
        if len(self._waiting) >= self._most:
            raise Busy(f"{self._most} {self._kind} are waiting already; try again in a moment")
        loop = asyncio.get_running_loop()
        one: Waiting[Item, Answer] = Waiting(item, loop.create_future())
        self._waiting[one] = loop.call_later(self._wait, self._too_late, one)
        if self._task is None:
            self._task = loop.create_task(self._work())
        try:
            return await one.future
        finally:
            if (timer := self._waiting.pop(one, None)) is not None:  # cancelled before its turn
                timer.cancel()

    def _too_late(self, one: Waiting[Item, Answer]) -> None:
        if self._waiting.pop(one, None) is not None and not one.future.done():
            one.future.set_exception(Busy(f"too many {self._kind} at once; try again in a moment"))

    async def _work(self) -> None:
        """Call `run` until nobody waits."""
        try:
            loop = asyncio.get_running_loop()
            while self._waiting:
                begin = loop.time()
                await self._call()
                left = begin + GATHER_SECONDS - loop.time()
                if left > 0 and len(self._waiting) < MOST_AT_ONCE:
                    await asyncio.sleep(left)
        finally:
            self._task = None

    async def _call(self) -> None:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)
        chosen = list(self._waiting)[:MOST_AT_ONCE]
        for one in chosen:
            self._waiting.pop(one).cancel()
        answers: Sequence[Answer | Exception]
        try:
            answers = await anyio.to_thread.run_sync(self._run, chosen, limiter=self._limiter)
        except Exception as error:  # noqa: BLE001 - raised where the requests wait
            answers = [error] * len(chosen)
        except BaseException:
            for one in chosen:
                one.future.cancel()
            raise
        for one, answer in zip(chosen, answers, strict=True):
            if one.future.done():
                continue  # its client is gone
            if isinstance(answer, Exception):
                one.future.set_exception(answer)
            else:
                one.future.set_result(answer)
