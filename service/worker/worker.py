"""The worker: it claims trials over HTTP and evaluates each in a child process.

The worker does not load torch. SIGTERM or SIGINT drains it: it finishes the running trials and claims no
more. A second signal, or the drain's time limit, gives them back: they stop between two epochs, upload their
checkpoint and are queued again.
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
from service.worker.attempt import Attempt
from service.worker.attempt_settings import AttemptSettings, Ending, Following, Server
from service.worker.fork_server import ForkServer, ForkServerBroken
from service.worker.trial_process import PRELOADED
from sparsemod.errors import InvalidInput, ServerUnavailable, SparsemodError
from sparsemod.files import scratch

if TYPE_CHECKING:
    from service.schemas.workers import Claim

log = structlog.get_logger("worker")

POLL_SECONDS = (0.1, 0.5)
"""First and longest pause between claims while the queue is empty."""

TROUBLE_SECONDS = (0.2, 15.0)
"""First and longest pause between claims while the server does not answer or fails."""

DENIALS = 3
"""Consecutive refusals of the worker's token after which the worker ends."""

DRAIN_SECONDS = 600.0
"""Seconds that a drain waits for the running trials before it gives them back."""

FOLDER = "sparsemod-worker-"
"""Prefix of the worker's temporary folder."""


class ClaimingServer(Server, Protocol):
    """The methods of `service.client.client.Client` that a worker uses."""

    def claim(self, worker: str, device: str, slots: int, started: bool) -> "Claim | None": ...


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker. Raises InvalidInput for a value out of range.

    `gpu`: number of the CUDA device, None for the CPU. `once`: end after one trial. `until_idle`: end after
    this many seconds without a trial. `threads`: threads of a child. `evaluate`: function that a child runs
    (`module:attribute`). `preload`: modules that the fork server imports.
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
        """Return the device's name on the server and in lists of workers."""
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"


class Worker:
    """Claims and evaluates trials.

    `run` blocks; any thread or signal handler may call `drain` and `release`.
    """

    def __init__(self, server: ClaimingServer, settings: WorkerSettings) -> None:
        self._server, self._settings = server, settings
        self.name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        environment = {"CUDA_VISIBLE_DEVICES": "" if settings.gpu is None else str(settings.gpu)}
        self._fork_server = ForkServer(
            environment=environment, threads=settings.threads, preload=settings.preload
        )
        self._draining = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._attempts: set[Attempt] = set()
        self._last_work = time.monotonic()
        self._started = False  # whether the server knows that this is a new process
        self._claim_error: Exception | None = None  # why the last claim failed
        self._denials = 0
        self._denied: AccessDenied | None = None
        self.finished = 0

    def drain(self) -> None:
        """Claim no more trials and finish the running ones."""
        self._draining.set()

    def release(self) -> None:
        """Claim no more trials and give back the running ones."""
        self._draining.set()
        self._released.set()

    def run(self) -> int:
        """Work until the settings or a signal end the worker. Return the number of reported trials.

        Errors of the server do not end the worker, except a token that is refused several times in a row:
        then AccessDenied is raised. Raises InvalidInput when there is no such GPU, ForkServerBroken when the
        GPU cannot be checked. Raises the last claim's error when `until_idle` ends a worker whose claims
        fail.
        """
        with scratch(FOLDER, self._settings.directory) as directory:
            return self._run_in(directory)

    def _run_in(self, directory: Path) -> int:
        settings = self._settings
        try:
            self._fork_server.start()
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
            if self._claim_error is not None and not self._draining.is_set():
                # `until_idle` ended the worker, but the queue may not be empty.
                if isinstance(self._claim_error, SparsemodError):
                    raise self._claim_error
                raise ServerUnavailable(f"claims fail: {self._claim_error}") from self._claim_error
            return self.finished
        finally:
            self._fork_server.close()

    def _supervise(self, slots: list[threading.Thread]) -> None:
        """Wait for the slots. After the drain's time limit, give back their trials."""
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
        """Claim and run trials in a loop."""
        idle_pause, error_pause = Backoff(*POLL_SECONDS, factor=1.5), Backoff(*TROUBLE_SECONDS)
        following: Claim | None = None
        while following is not None or not self._draining.is_set():
            claim, failed = (following, False) if following is not None else self._claim()
            following = None
            if not failed:
                error_pause.reset()
            if claim is None:
                idle = time.monotonic() - self._last_work
                limit = self._settings.until_idle
                with self._lock:
                    busy = bool(self._attempts)
                if limit is not None and not busy and idle > limit:
                    return
                self._draining.wait((error_pause if failed else idle_pause).pause())
                continue
            idle_pause.reset()
            attempt = Attempt(self._server, claim, self._fork_server, child, self._wanted)
            with self._lock:
                self._attempts.add(attempt)
            log.info("trial", experiment=claim.experiment, trial=claim.trial, attempt=claim.attempt)
            began = time.monotonic()
            ending: Ending | None = None
            try:
                ending = attempt.run()
            except Exception:  # noqa: BLE001
                # The worker continues. The attempt's lease expires and the trial is queued again.
                log.error("attempt failed", attempt=claim.attempt, traceback=traceback.format_exc())
            finally:
                self._last_work = time.monotonic()
                with self._lock:
                    self._attempts.discard(attempt)
            self.finished += ending is Ending.FINISHED
            following = attempt.next
            log.info(
                "reported" if ending is Ending.FINISHED else str(ending or Ending.LOST),
                experiment=claim.experiment,
                trial=claim.trial,
                seconds=round(time.monotonic() - began, 3),
            )
            if self._settings.once:
                self._draining.set()

    def _wanted(self) -> Following | None:
        """Return what to claim together with the report of a trial, None when this worker takes no more."""
        if self._draining.is_set() or self._settings.once:
            return None
        return self.name, self._settings.device, self._settings.slots

    def _claim(self) -> "tuple[Claim | None, bool]":
        """Return a claim or None, and whether the request failed.

        Raise nothing: no bad answer may end the worker.
        """
        try:
            claim = self._server.claim(
                self.name, self._settings.device, self._settings.slots, not self._started
            )
        except AccessDenied as error:
            self._denials += 1
            if self._denials < DENIALS:
                return None, self._failed(error)
            # Retrying is pointless: finish the running trials, then raise the error.
            self._denied = error
            self._draining.set()
            return None, True
        except Exception as error:  # noqa: BLE001
            return None, self._failed(error)
        self._started, self._denials = True, 0
        if self._claim_error is not None:
            log.info("server is back")
            self._claim_error = None
        return claim, False

    def _failed(self, error: Exception) -> bool:
        """Log why a claim failed, once per reason. Return True."""
        if self._claim_error is None or str(self._claim_error) != str(error):
            log.warning("claim failed, retrying", reason=str(error) or type(error).__name__)
        self._claim_error = error
        return True

    def _check_gpu(self, number: int, directory: Path) -> None:
        """Check in a child that torch sees the GPU, so a wrong --gpu fails at the start.

        Raises InvalidInput, ForkServerBroken.
        """
        child = self._fork_server.fork()
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
    """Run a worker as a process and return the number of reported trials.

    The first SIGTERM or SIGINT drains it, the second gives its trials back. Raises the errors of
    `Worker.run`.
    """
    from service.client.client import Client

    with contextlib.closing(Client(url)) as client:
        worker = Worker(client, settings)

        def on_signal(number: int, _: Any) -> None:
            if worker._draining.is_set():
                sys.stderr.write("giving the running trials back\n")
                worker.release()
            else:
                sys.stderr.write("finishing the running trials; signal again to give them back\n")
                worker.drain()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        return worker.run()


__all__ = ["ForkServerBroken", "SparsemodError", "Worker", "WorkerSettings", "run_worker"]
