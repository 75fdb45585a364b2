"""The thread of queued jobs: all waiting jobs at once, no process while it is idle, an end at any moment."""

import threading
from typing import Any, cast

from service.jobs.job_thread import JobThread


class Process:
    """Stands for the child process; counts how often it was ended."""

    def __init__(self) -> None:
        self.ended, self.closed = threading.Event(), False

    def end(self) -> None:
        self.ended.set()

    def close(self) -> None:
        self.closed = True


def test_waiting_jobs_run_at_once_and_the_process_ends_when_none_waits() -> None:
    jobs, seen, started = ["a", "b"], [], Process()
    ended_between = []

    def one() -> bool:
        ended_between.append(started.ended.is_set())
        if not jobs:
            return False
        seen.append(jobs.pop(0))
        return True

    thread = JobThread("jobs", one, lambda: cast(Any, started))
    thread.begin()
    try:
        assert started.ended.wait(10)
        assert seen == ["a", "b"]
        assert ended_between[:3] == [False, False, False]
        assert not thread.ending
    finally:
        thread.close()
    assert thread.ending
    assert started.closed


def test_a_closed_thread_begins_again_with_a_new_process() -> None:
    made: list[Process] = []

    def start() -> Any:
        made.append(Process())
        return made[-1]

    thread = JobThread("jobs", lambda: False, start)
    for _ in range(2):
        thread.begin()
        assert made[-1].ended.wait(10)
        thread.close()
    assert len(made) == 3
    assert made[-1].closed
    assert not made[0].closed
