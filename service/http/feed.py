"""Server-sent events, read from the store, where every event has a counter, and never from a process's
memory.

So a page may be connected to any server process, and an event may come from any. A page that reconnects sends
the counter of the last event it saw and receives each later event once. A process reads the counters with one
small query, for any number of pages, and reads each event once for all of them.
"""

import asyncio
import json
import threading
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event

from service.schemas.dashboard import Revision
from service.schemas.trials import Event
from service.store import Store
from sparsemod.errors import NotFound, SparsemodError

log = structlog.get_logger("server")

POLL_SECONDS = (0.15, 1.0)
"""Shortest and longest pause in seconds between two reads of the counters; short while events arrive."""

HEARTBEAT_SECONDS = 15.0
"""An idle stream sends a comment that often, so that no proxy closes it."""

LONGEST_SECONDS = 600.0
"""Longest life of a stream. The page then reconnects by itself, and its login is checked again."""

HELD = 2000
"""Events of an experiment that a process keeps in memory; a page that is further behind reads from the store."""

BATCH = 500


class _Ring:
    """The newest events of one experiment, encoded: those after `start` up to `head`."""

    def __init__(self, revision: int) -> None:
        self.start = self.head = revision
        self.gone = False
        self._events: deque[bytes] = deque()

    def add(self, event: Event) -> None:
        self._events.append(encoded(event))
        self.head = event.counter
        if len(self._events) > HELD:
            self._events.popleft()
            self.start += 1

    def restart(self, head: int) -> None:
        """Forget all events: retention has deleted those that follow, up to `head`."""
        self.start = self.head = head
        self._events.clear()

    def since(self, counter: int) -> list[bytes]:
        """Return the events after `counter`, which must be at least `start`."""
        skipped = counter - self.start
        return [event for place, event in enumerate(self._events) if place >= skipped]


class Feed:
    """One per server process. Call its methods in the event loop only, except `end`."""

    def __init__(self, store: Store, *, pauses: tuple[float, float] = POLL_SECONDS) -> None:
        self._store, self._pauses = store, pauses
        self._rings: dict[int, _Ring] = {}
        self._watched: Counter[int] = Counter()
        self._everything = 0
        self._revisions: dict[int, Revision] = {}
        self._ticks = 0
        self._wakers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()

    def end(self) -> None:
        """End all streams because the server shuts down. Any thread or signal handler may call this."""
        self._ended.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def experiment(self, identity: int, after: int | None) -> AsyncIterator[bytes]:
        """Yield the events of an experiment after counter `after`;
        only new ones when it is None. Raises NotFound at the first step."""
        known = (await run_in_threadpool(self._store.revisions, [identity])).get(identity)
        if known is None:
            raise NotFound("experiment", identity)
        # A counter that the experiment has not reached comes from another database.
        cursor = known.revision if after is None or after > known.revision else after
        ring = self._rings.setdefault(identity, _Ring(known.revision))
        self._watched[identity] += 1
        waker = self._join()
        try:
            # Send the counter first, as an event without data, so that a page can reconnect before any event.
            yield f"retry: 1000\nid: {cursor}\n\n".encode()
            if after is not None and after > known.revision:
                yield format_sse_event(event="reset", data_str="{}", id=str(cursor))
            while not self._ended.is_set():
                if cursor < ring.start:
                    # Raises NotFound after a deletion.
                    batch = await run_in_threadpool(self._store.events, identity, cursor, BATCH)
                    if batch and batch[0].counter == cursor + 1:
                        cursor = batch[-1].counter
                        yield b"".join(map(encoded, batch))
                        continue
                    # Retention has deleted the next events.
                    cursor = ring.head
                    yield format_sse_event(event="reset", data_str="{}", id=str(cursor))
                elif cursor < ring.head:
                    fresh = ring.since(cursor)
                    cursor = ring.head
                    yield b"".join(fresh)
                if ring.gone:
                    yield format_sse_event(event="experiment", data_str='{"deleted":true}')
                    return
                if not await self._wait(waker):
                    yield b":\n\n"
        except NotFound:
            yield format_sse_event(event="experiment", data_str='{"deleted":true}')
        finally:
            self._leave(waker)
            self._watched[identity] -= 1
            if not self._watched[identity]:
                del self._watched[identity]
                self._rings.pop(identity, None)

    async def everything(self) -> AsyncIterator[bytes]:
        """Yield a map of all experiments' revisions, then each experiment whose revision changed, at most
        once a second."""
        self._everything += 1
        waker = self._join()
        try:
            known = await run_in_threadpool(self._store.revisions)
            revisions = {str(identity): item.revision for identity, item in known.items()}
            yield b"retry: 1000\n\n" + format_sse_event(event="revisions", data_str=_compact(revisions))
            while not self._ended.is_set():
                if not await self._wait(waker):
                    yield b":\n\n"
                    continue
                now = self._revisions
                moved = [item for identity, item in now.items() if item != known.get(identity)]
                lines = [
                    {"id": item.experiment, "revision": item.revision, "state": item.state.value}
                    for item in moved
                ]
                lines += [{"id": identity, "deleted": True} for identity in known if identity not in now]
                known = now
                if lines:
                    yield b"".join(
                        format_sse_event(event="experiment", data_str=_compact(line)) for line in lines
                    )
                    await asyncio.sleep(min(1.0, HEARTBEAT_SECONDS))
        finally:
            self._everything -= 1
            self._leave(waker)

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _join(self) -> asyncio.Event:
        waker = asyncio.Event()
        self._wakers.add(waker)
        self._loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._poll())
        return waker

    def _leave(self, waker: asyncio.Event) -> None:
        self._wakers.discard(waker)
        if not self._wakers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _wait(self, waker: asyncio.Event) -> bool:
        """Wait for a change. Return False when there was none for HEARTBEAT_SECONDS."""
        try:
            await asyncio.wait_for(waker.wait(), HEARTBEAT_SECONDS)
        except TimeoutError:
            return False
        waker.clear()
        return True

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()

    async def _poll(self) -> None:
        shortest, longest = self._pauses
        pause = shortest
        while not self._ended.is_set():
            await asyncio.sleep(pause)
            try:
                moved = await self._read_new()
            except SparsemodError as error:
                log.warning("the store does not answer; streams wait", reason=str(error))
                moved = False
            if moved:
                self._wake()
            pause = shortest if moved else min(1.5 * pause, longest)

    async def _read_new(self) -> bool:
        """Read new events; return whether there were any. Raises SparsemodError when the store does not answer."""
        identities = None if self._everything else list(self._rings)
        revisions = await run_in_threadpool(self._store.revisions, identities)
        moved = bool(self._everything) and revisions != self._revisions
        if self._everything:
            self._revisions = revisions
        for identity, ring in list(self._rings.items()):
            now = revisions.get(identity)
            if now is None:
                moved, ring.gone = True, True
                continue
            while ring.head < now.revision:
                try:
                    batch = await run_in_threadpool(self._store.events, identity, ring.head, BATCH)
                except NotFound:
                    ring.gone = True
                    break
                if batch and batch[0].counter != ring.head + 1:
                    ring.restart(batch[0].counter - 1)
                for event in batch:
                    ring.add(event)
                moved = True
                if not batch:
                    break
        return moved


def encoded(event: Event) -> bytes:
    """Return an event in wire format; `id` is its counter."""
    return format_sse_event(event=event.kind, data_str=_compact(event.data), id=str(event.counter))


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


async def limited(source: AsyncIterator[bytes], *, compressed: bool) -> AsyncIterator[bytes]:
    """Yield `source` for LONGEST_SECONDS; `compressed`: as gzip, flushed after every piece so that none is delayed."""
    squeeze: Callable[[bytes], bytes] = _gzip() if compressed else bytes
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST_SECONDS
    async for piece in source:
        yield squeeze(piece)
        if loop.time() > end:
            return


def _gzip() -> Callable[[bytes], bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return lambda piece: packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
