"""Groups of requests: order, limits, errors and cancelled requests."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from service.http import grouping
from service.http.grouping import Group, Waiting
from service.http.pools import Busy


class Work:
    """Answers with the double of each number, once it may; refuses negative numbers."""

    def __init__(self, free: bool = True) -> None:
        self.calls: list[list[int]] = []
        self.started, self.free = threading.Event(), threading.Event()
        if free:
            self.free.set()

    def __call__(self, waiting: Sequence[Waiting[int, int]]) -> list[int | Exception]:
        self.calls.append([one.item for one in waiting])
        self.started.set()
        self.free.wait(30)
        if any(one.item == 666 for one in waiting):
            raise OSError("broken")
        return [ValueError(one.item) if one.item < 0 else 2 * one.item for one in waiting]


async def begun(work: Work) -> None:
    while not work.started.is_set():
        await asyncio.sleep(0.001)


def test_requests_that_wait_are_answered_together_in_their_order() -> None:
    async def main() -> list[Any]:
        work = Work(free=False)
        group = Group("numbers", work)
        first = asyncio.create_task(group.ask(1))
        await begun(work)
        others = [asyncio.create_task(group.ask(number)) for number in (2, -3, 4)]
        await asyncio.sleep(0)
        work.free.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert work.calls == [[1], [2, -3, 4]]
        return found

    one, two, three, four = asyncio.run(main())
    assert (one, two, four) == (2, 4, 8) and isinstance(three, ValueError)


def test_a_call_takes_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(grouping, "GATHER_SECONDS", 0.0)

    async def main() -> None:
        work = Work()
        group = Group("numbers", work)
        assert await asyncio.gather(*(group.ask(number) for number in range(8))) == [2 * n for n in range(8)]
        assert [len(call) for call in work.calls] == [3, 3, 2]

    asyncio.run(main())


def test_too_many_and_too_late_requests_are_refused() -> None:
    async def main() -> None:
        work = Work(free=False)
        group = Group("numbers", work, wait=0.05, most=2)
        first = asyncio.create_task(group.ask(1))
        await begun(work)
        waiting = [asyncio.create_task(group.ask(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 numbers are waiting already"):
            await group.ask(4)
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, Busy) and "too many numbers at once" in str(error) for error in refused)
        work.free.set()
        assert await first == 2 and work.calls == [[1]]  # a refused request is never run
        assert await group.ask(5) == 10

    asyncio.run(main())


def test_a_request_that_was_cancelled_before_its_turn_is_not_run() -> None:
    async def main() -> None:
        work = Work(free=False)
        group = Group("numbers", work)
        first = asyncio.create_task(group.ask(1))
        await begun(work)
        gone, stays = (asyncio.create_task(group.ask(number)) for number in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        work.free.set()
        assert await asyncio.gather(first, stays) == [2, 6] and work.calls == [[1], [3]]

    asyncio.run(main())


def test_a_request_whose_client_goes_during_its_call_does_not_disturb_the_others() -> None:
    async def main() -> None:
        work = Work(free=False)
        group = Group("numbers", work)
        gone, stays = (asyncio.create_task(group.ask(number)) for number in (1, 2))
        await begun(work)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        work.free.set()
        assert await stays == 4 and work.calls == [[1, 2]]

    asyncio.run(main())


def test_an_error_of_the_call_reaches_all_of_its_requests_and_no_later_one() -> None:
    async def main() -> None:
        group = Group("numbers", Work())
        found = await asyncio.gather(group.ask(666), group.ask(1), return_exceptions=True)
        assert [type(error) for error in found] == [OSError, OSError]
        assert await group.ask(3) == 6

    asyncio.run(main())
