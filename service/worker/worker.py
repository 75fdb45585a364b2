"""The worker: claims trials over HTTP and has each evaluated in a child process of its own.

It loads no torch itself. SIGTERM (or SIGINT) drains: the trials under way are finished, no more are claimed. A second signal, or the
drain's time limit, gives them back: they stop between two epochs, leave their checkpoint with the server and are queued again.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from service.client.backoff import Backoff
from service.errors import AccessDenied
from service.worker.attempt import Attempt, AttemptSettings, Ending, Server
from service.worker.fork_server import Nursery, NurseryBroken

if TYPE_CHECKING:
    from service.schemas.trials import Claim
from service.worker.trial_process import PRELOADED
from sparsemod.errors import InvalidInput, ServerUnavailable, SparsemodError
from sparsemod.files import scratch

log = structlog.get_logger("worker")

POLL_SECONDS = (0.1, 0.5)
"""First and longest pause before an empty queue is asked again."""

TROUBLE_SECONDS = (0.2, 15.0)
"""First and longest pause before a server is asked again that did not answer, or not in a way that makes sense."""

DENIALS = 3
"""How often in a row a server must refuse this worker's token before the worker ends."""

DRAIN_SECONDS = 600.0
"""How long a drain waits for the trials under way before it gives them back."""


FOLDER = "sparsemod-worker-"
"""How the name of the folder of a worker's files begins."""


class ClaimingServer(Server, Protocol):
    """What a worker needs of `service.client.client.Client`."""

    def claim(self, worker: str, device: str, slots: int, started: bool) -> "Claim | None": ...


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker runs.

    `gpu` is the number of the CUDA device, None for the CPU. `once`: end after one trial; `until_idle`: end when there was nothing to
    claim for so many seconds. `threads` are a child's; `evaluate` and `preload` name what a child runs (`module:attribute`) and what the
    nursery loads beforehand.
    """

    name: str = ""
    gpu: int | None = None
    slots: int = 1
    once: bool = False
    until_idle: float | None = None
    drain_seconds: float = DRAIN_SECONDS
    threads: int = 1
    evaluate: str = "service.worker.trial_process:evaluate_job"
    preload: tuple[str, ...] = PRELOADED
    directory: Path | None = None
    stop_grace: float = field(default=20.0)

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InvalidInput("slots", self.slots, "at least 1")
        if self.gpu is not None and self.gpu < 0:
            raise InvalidInput("gpu", self.gpu, "the number of a CUDA device, from 0")
        if self.until_idle is not None and self.until_idle < 0:
            raise InvalidInput("until_idle", self.until_idle, "seconds, not negative")
        if self.drain_seconds < 0:
            raise InvalidInput("drain_seconds", self.drain_seconds, "seconds, not negative")

    @property
    def device(self) -> str:
        """What the server and the lists of workers call the device."""
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"


class Worker:
    """Claims and evaluates until it is told to end. `run` blocks; `drain` and `release` may come from any thread or signal handler."""

    def __init__(self, server: ClaimingServer, settings: WorkerSettings) -> None:
        self._server, self._settings = server, settings
        self.name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        environment = {"CUDA_VISIBLE_DEVICES": "" if settings.gpu is None else str(settings.gpu)}
        self._nursery = Nursery(environment=environment, threads=settings.threads, preload=settings.preload)
        self._draining = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._attempts: set[Attempt] = set()
        self._last_work = time.monotonic()
        self._started = False  # whether the server knows that this process is a new one
        self._trouble: Exception | None = None  # why the last claim failed
        self._denials = 0
        self._denied: AccessDenied | None = None
        self.finished = 0

    def drain(self) -> None:
        """Claim no more; finish what is under way."""
        self._draining.set()

    def release(self) -> None:
        """Claim no more; give back what is under way."""
        self._draining.set()
        self._released.set()

    def run(self) -> int:
        """Work until the end that the settings or a signal ask for; the number of trials that were reported.

        No answer of the server ends it, but for a token that is refused several times in a row. Raises AccessDenied then, InvalidInput when
        there is no such GPU, NurseryBroken when it cannot be asked for, and what kept the server from answering when `until_idle` ends a
        worker that could not ask for trials.
        """
        with scratch(FOLDER, self._settings.directory) as directory:
            return self._run_in(directory)

    def _run_in(self, directory: Path) -> int:
        settings = self._settings
        try:
            self._nursery.start()
            if settings.gpu is not None:
                self._check_gpu(settings.gpu, directory)
            child = AttemptSettings(
                device="cpu" if settings.gpu is None else "cuda",
                evaluate=settings.evaluate,
                directory=directory,
                stop_grace=settings.stop_grace,
            )
            log.info("ready", worker=self.name, device=settings.device, slots=settings.slots)
            slots = [
                threading.Thread(target=self._slot, args=(child,), name=f"slot-{number}")
                for number in range(settings.slots)
            ]
            for slot in slots:
                slot.start()
            self._supervise(slots)
            if self._denied is not None:
                raise self._denied
            if self._trouble is not None and not self._draining.is_set():
                # `until_idle`: nobody said that there is nothing to do.
                if isinstance(self._trouble, SparsemodError):
                    raise self._trouble
                raise ServerUnavailable(f"no claim could be made: {self._trouble}") from self._trouble
            return self.finished
        finally:
            self._nursery.close()

    def _supervise(self, slots: list[threading.Thread]) -> None:
        """Wait for the slots; once draining, for so long only, and then give back what they hold."""
        limit: float | None = None
        while any(slot.is_alive() for slot in slots):
            for slot in slots:
                slot.join(timeout=0.1)
            if self._draining.is_set() and limit is None:
                limit = time.monotonic() + self._settings.drain_seconds
            if limit is not None and time.monotonic() > limit:
                self._released.set()
            if self._released.is_set():
                with self._lock:
                    for attempt in self._attempts:
                        attempt.release()

    def _slot(self, child: AttemptSettings) -> None:
        """One slot: claim, run, again."""
        idle_pause, trouble_pause = Backoff(*POLL_SECONDS, factor=1.5), Backoff(*TROUBLE_SECONDS)
        while not self._draining.is_set():
            claim, trouble = self._claim()
            if not trouble:
                trouble_pause.reset()
            if claim is None:
                idle = time.monotonic() - self._last_work
                limit = self._settings.until_idle
                with self._lock:
                    busy = bool(self._attempts)
                if limit is not None and not busy and idle > limit:
                    return
                self._draining.wait((trouble_pause if trouble else idle_pause).pause())
                continue
            idle_pause.reset()
            attempt = Attempt(self._server, claim, self._nursery, child)
            with self._lock:
                self._attempts.add(attempt)
            log.info("trial", experiment=claim.experiment, trial=claim.trial, attempt=claim.attempt)
            began = time.monotonic()
            ending: Ending | None = None
            try:
                ending = attempt.run()
            except Exception:  # noqa: BLE001
                # Whatever goes wrong with one attempt, its lease runs out and the trial is tried again; the worker goes on.
                log.error("attempt failed", attempt=claim.attempt, traceback=traceback.format_exc())
            finally:
                self._last_work = time.monotonic()
                with self._lock:
                    self._attempts.discard(attempt)
            self.finished += ending is Ending.FINISHED
            log.info(
                "reported" if ending is Ending.FINISHED else str(ending or Ending.LOST),
                experiment=claim.experiment,
                trial=claim.trial,
                seconds=round(time.monotonic() - began, 3),
            )
            if self._settings.once:
                self._draining.set()

    def _claim(self) -> "tuple[Claim | None, bool]":
        """A trial if there is one, and whether asking failed. Raises nothing: one bad answer, whatever it is, must not end a worker."""
        try:
            claim = self._server.claim(
                self.name, self._settings.device, self._settings.slots, not self._started
            )
        except AccessDenied as error:
            self._denials += 1
            if self._denials < DENIALS:
                return None, self._failed(error)
            # Asking again helps nobody: end, once the trials under way are over, and say why.
            self._denied = error
            self._draining.set()
            return None, True
        except Exception as error:  # noqa: BLE001
            return None, self._failed(error)
        self._started, self._denials = True, 0
        if self._trouble is not None:
            log.info("server is back")
            self._trouble = None
        return claim, False

    def _failed(self, error: Exception) -> bool:
        """Log why a claim failed, once for each reason; True."""
        if self._trouble is None or str(self._trouble) != str(error):
            log.warning("no claim, will keep trying", reason=str(error) or type(error).__name__)
        self._trouble = error
        return True

    def _check_gpu(self, number: int, directory: Path) -> None:
        """Ask a child what torch sees, so that a wrong --gpu is told at the start and not by the first trial."""
        child = self._nursery.fork()
        try:
            child.channel.send(
                {
                    "kind": "job",
                    "evaluate": "service.worker.trial_process:probe_accelerator",
                    "workdir": str(directory),
                }
            )
            answer: dict[str, Any] = next(
                (m for m in child.channel.messages() if m["kind"] in ("result", "fault")), {}
            )
        finally:
            child.kill()
            child.close()
        if not answer.get("name"):
            reason = answer.get("reason") or answer.get("message") or f"the probing process {child.ending()}"
            raise InvalidInput(
                "gpu", number, f"a CUDA device that torch can use ({reason}); --cpu works anywhere"
            )
        log.info("gpu", number=number, name=answer["name"], gigabytes=round(answer["memory"] / 1024**3, 1))


def run_worker(url: str, settings: WorkerSettings) -> int:
    """The worker as a process: signals drain it, twice gives its trials back. Returns the number of trials reported."""
    from service.client.client import Client

    with contextlib.closing(Client(url)) as client:
        worker = Worker(client, settings)

        def on_signal(number: int, _: Any) -> None:
            if worker._draining.is_set():
                sys.stderr.write("giving the trials under way back\n")
                worker.release()
            else:
                sys.stderr.write("finishing the trials under way; again to give them back\n")
                worker.drain()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        return worker.run()


__all__ = ["NurseryBroken", "SparsemodError", "Worker", "WorkerSettings", "run_worker"]
