"""The fleet: it places workers on a cluster, replaces those that end, follows the queue, and drains on request."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from service.fleet.placement import Cluster, Phase, PlacedWorker
from service.fleet.queue_reader import QueueReader
from service.fleet.resources import Need, why_pending
from service.fleet.scaling import Demand, Scaling
from service.processes.supervisor import GIVE_UP_AFTER, STEADY_SECONDS, SupervisionFailed, restart_pause
from sparsemod.errors import ServerUnavailable, SparsemodError

log = structlog.get_logger("fleet")

STEP_SECONDS = 0.2
"""Pause between two steps of the fleet."""

QUEUE_SECONDS = 2.0
"""Pause between two questions to the server about its queue."""


@dataclass
class Member:
    """One worker of the fleet: where it is placed, and how often it ended right after its start."""

    number: int
    name: str
    placed: PlacedWorker | None = None
    phase: Phase = Phase.PENDING
    draining: bool = False
    since: float = 0.0
    next_start: float = 0.0
    failures: int = 0
    why: str = ""


@dataclass(frozen=True)
class Status:
    """Counts of workers; `why`: why the wanted number does not run, empty when it does."""

    wanted: int
    running: int
    pending: int
    draining: int
    queued: int | None
    why: str


class Fleet:
    """Keeps the wanted number of workers on a cluster.

    `queue` is asked for the demand when the number follows it or `until_idle` is set: then the fleet ends after
    this many seconds without a queued trial and without a worker that holds one.
    """

    def __init__(
        self,
        cluster: Cluster,
        scaling: Scaling,
        need: Need,
        name: str,
        queue: QueueReader | None = None,
        until_idle: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._scaling, self._need, self._name = cluster, scaling, need, name
        self._queue, self._until_idle, self._clock = queue, until_idle, clock
        self.members: list[Member] = []
        self._demand: Demand | None = None
        self._next_question = 0.0
        self._trouble = ""  # why the server did not tell its queue
        self._last_work = clock()
        self._wanted = 0
        self._shown: Status | None = None

    # ---- the loop

    def run(self, signals: Callable[[], int], pause: float = STEP_SECONDS) -> None:
        """Work until `signals()`, the number of stop signals so far, is above 0, then end all workers.

        One signal: they finish their trials. Two: they give them back. Three: they are killed. Raises
        SupervisionFailed when no worker can be kept running, and the server's errors about the token.
        """
        try:
            self._ask_first()
            while signals() == 0 and not self.idle():
                self.step()
                time.sleep(pause)
            self.end(signals, pause)
        finally:
            for member in self.members:
                if member.placed is not None:
                    member.placed.kill()

    def idle(self) -> bool:
        """Return whether `until_idle` seconds passed without work."""
        return self._until_idle is not None and self._clock() - self._last_work > self._until_idle

    def step(self) -> None:
        """Look at the workers and at the queue; place and drain workers; log the status when it changed."""
        now = self._clock()
        self._look(now)
        self._ask(now)
        self._wanted = self._scaling.wanted(now, self._demand)
        self._drain_surplus()
        self._add_missing()
        for member in self.members:
            if member.placed is None and not member.draining and now >= member.next_start:
                member.placed = self._cluster.place(member.name)
                member.phase, member.why = Phase.PENDING, ""
        self._show()

    def end(self, signals: Callable[[], int], pause: float = STEP_SECONDS) -> None:
        """End all workers and wait for them: see `run`."""
        self._wanted = 0
        for member in self.members:
            self._drain(member)
        asked = 1
        while True:
            self._look(self._clock())
            self._show()
            if not self.members:
                log.info("ended")
                return
            if signals() > asked:
                asked = signals()
                for member in self.members:
                    if member.placed is not None:
                        member.placed.release() if asked == 2 else member.placed.kill()
                log.warning("workers give their trials back" if asked == 2 else "workers are killed")
            time.sleep(pause)

    # ---- parts of a step

    def _look(self, now: float) -> None:
        """Note what happened to the workers. Raises SupervisionFailed."""
        for member in list(self.members):
            if member.placed is None:
                if member.draining:
                    self.members.remove(member)
                continue
            report = member.placed.report()
            if report.phase is Phase.RUNNING and member.phase is Phase.PENDING:
                member.phase, member.since = Phase.RUNNING, now
                log.info("worker runs", worker=member.name, node=report.text)
            elif report.phase is Phase.ENDED:
                self._ended(member, report.text, now)

    def _ended(self, member: Member, why: str, now: float) -> None:
        if member.placed is not None:
            member.placed.kill()  # free its place
        was, member.placed, member.phase = member.phase, None, Phase.PENDING
        if member.draining:
            log.info("worker ended", worker=member.name)
            self.members.remove(member)
            return
        steady = was is Phase.RUNNING and now - member.since > STEADY_SECONDS
        member.failures = 1 if steady else member.failures + 1
        member.why = f"{member.name}: {why}"
        if member.failures > GIVE_UP_AFTER and not any(m.phase is Phase.RUNNING for m in self.members):
            raise SupervisionFailed(f"worker {member.name} failed {member.failures} times in a row: {why}")
        pause = restart_pause(member.failures)
        member.next_start = now + pause
        log.warning("worker ended, replacing it", worker=member.name, reason=why, pause=pause)

    def _ask_first(self) -> None:
        """Ask for the queue once, so that a refused token ends the fleet before it starts a worker."""
        if self._queue is not None:
            try:
                self._queue([])
            except ServerUnavailable as error:
                log.warning("the server does not answer yet", reason=str(error))

    def _ask(self, now: float) -> None:
        """Ask the server for its queue. Without an answer, the number of workers stays."""
        if self._queue is None or now < self._next_question:
            return
        self._next_question = now + QUEUE_SECONDS
        try:
            self._demand = self._queue([member.name for member in self.members])
            self._trouble = ""
        except SparsemodError as error:
            self._demand, self._trouble = None, f"the server does not tell its queue: {error}"
        if self._demand is None or self._demand.workers:
            self._last_work = now  # an unknown queue is not an empty one

    def _drain_surplus(self) -> None:
        """Drain the workers above the wanted number: those without a place first, then idle ones, newest first."""
        active = [member for member in self.members if not member.draining]
        busy = self._demand.busy if self._demand is not None else frozenset[str]()
        order = {Phase.PENDING: 0, Phase.RUNNING: 1, Phase.ENDED: 0}
        active.sort(key=lambda member: (order[member.phase], member.name in busy, -member.number))
        for member in active[: max(0, len(active) - self._wanted)]:
            log.info("worker drains", worker=member.name)
            self._drain(member)

    def _drain(self, member: Member) -> None:
        if not member.draining:
            member.draining = True
            if member.placed is not None:
                member.placed.drain()

    def _add_missing(self) -> None:
        missing = self._wanted - sum(not member.draining for member in self.members)
        used = {member.number for member in self.members}
        number = 0
        while missing > 0:
            number += 1
            if number not in used:
                self.members.append(Member(number, f"{self._name}-{number}"))
                missing -= 1

    # ---- the status

    def status(self) -> Status:
        """Return the present counts, and why workers are missing."""
        active = [member for member in self.members if not member.draining]
        waiting = [member for member in active if member.phase is Phase.PENDING]
        return Status(
            wanted=self._wanted,
            running=sum(member.phase is Phase.RUNNING for member in active),
            pending=len(waiting),
            draining=len(self.members) - len(active),
            queued=None if self._demand is None else self._demand.queued,
            why="; ".join(filter(None, (self._why(waiting), self._trouble))),
        )

    def _why(self, waiting: Sequence[Member]) -> str:
        if not waiting:
            return ""
        ended = next((member.why for member in waiting if member.placed is None and member.why), "")
        try:
            return ended or why_pending(self._need, self._cluster.nodes(), self._cluster.free())
        except ServerUnavailable as error:
            return str(error)

    def _show(self) -> None:
        """Log the status when it changed."""
        status = self.status()
        # A change of the queue alone is no news: trials come and go all the time.
        if self._shown is not None and status == replace(self._shown, queued=status.queued):
            return
        self._shown = status
        words = {"wanted": status.wanted, "running": status.running, "pending": status.pending}
        extra: dict[str, object] = {"draining": status.draining} if status.draining else {}
        if status.queued is not None:
            extra["queued"] = status.queued
        if status.why:
            extra["why"] = status.why
        log.info("workers", **words, **extra)
