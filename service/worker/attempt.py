"""One attempt at a trial, from claim to report: the child process is watched here, and what it says goes on to the server.

Nothing that happens in the child reaches the worker: a crash, a signal, too much memory or time end as a failure with a message that says
what happened. A server that is away is waited for; a lease that was lost ends the child, and nothing of it is reported.
"""

import contextlib
import hashlib
import select
import selectors
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from service.client.backoff import Backoff
from service.errors import NoSpace, ServerError
from service.worker.fork_server import Child, Nursery, NurseryBroken

if TYPE_CHECKING:
    from service.schemas.trials import Claim

logger = structlog.get_logger("worker")
from service.schemas.trials import LogLine
from service.worker.trial_log import TrialLog
from service.worker.trial_process import Message
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable, SparsemodError
from sparsemod.pipeline.environment import environment_failure
from sparsemod.records import CurvePoint, Failure, FailureKind, TrialResult, TrialState
from sparsemod.units import METRICS

FORWARD_SECONDS = 0.5
"""Curve points and log lines are sent on at most this often."""

WATCH_SECONDS = 0.2
"""How often time and memory of a child are looked at."""

STOP_GRACE_SECONDS = 20.0
"""How long a child that was asked to stop may take, before it is killed."""

RETRY_SECONDS = (0.2, 5.0)
"""First and longest pause before a server that was away is tried again."""

RELEASED = "released"
"""`Failure.detail` of a trial that its worker gave back: no fault of the trial."""

BATCH = 2000
"""Curve points and log lines that go into one request at most."""

DRAIN_OUTPUT_SECONDS = 1.0
"""How long the output of a child that has ended is read on at most."""

SERVER_ERRORS = 8
"""How often a request is repeated that the server fails at: the fault may be one of the moment, or of the request."""

REFUSALS = 3
"""How often a report is sent that the server refuses as invalid, before it counts as refused: one answer may be somebody else's."""

WHOLE, FILES = "whole", "files"
"""`Failure.detail` of a failure of the environment that keeps this worker from every experiment; that is the server's, whose files are gone."""


class Ending(StrEnum):
    """What became of an attempt."""

    FINISHED = "finished"  # reported, and the server took it
    LOST = "lost"  # the lease is somebody else's: nothing was reported
    RELEASED = "released"  # given back unfinished, because this worker ends


class Server(Protocol):
    """What an attempt needs of `service.client.client.Client`."""

    def heartbeat(self, attempt: int, token: str) -> Any: ...
    def points(self, attempt: int, token: str, points: list[CurvePoint], log: list[LogLine]) -> Any: ...
    def checkpoint(self, attempt: int, token: str, digest: str) -> Any: ...
    def finish(self, attempt: int, token: str, result: TrialResult) -> Any: ...
    def upload(self, content: bytes | Path) -> str: ...
    def download(self, digest: str, path: Path) -> Path: ...


@dataclass(frozen=True)
class AttemptSettings:
    """How children are run: torch device, the function that evaluates, where files of trials and downloads are kept."""

    device: str
    evaluate: str
    directory: Path
    stop_grace: float = STOP_GRACE_SECONDS


class Attempt:
    """Runs one claim to its end; `run` is called once, `release` from any thread."""

    def __init__(self, server: Server, claim: "Claim", nursery: Nursery, settings: AttemptSettings) -> None:
        self._server, self._claim, self._nursery, self._settings = server, claim, nursery, settings
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._release = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._forwarding = threading.Lock()
        self._points: list[CurvePoint] = []
        self._log = TrialLog()
        self._checkpoint: Path | None = None
        self._stage = "start"
        self._peak = 0
        self._refusals = 0

    def release(self) -> None:
        """Ask for an early end: the child stops between epochs, its checkpoint is kept, the trial goes back to the queue."""
        self._release.set()

    def run(self) -> Ending:
        """Evaluate and report. Raises nothing that a trial could cause."""
        directory = self._settings.directory / f"attempt-{self._claim.attempt}"
        keeper = threading.Thread(target=self._keep_lease, name=f"lease-{self._claim.attempt}", daemon=True)
        keeper.start()
        try:
            result = self._evaluate(directory)
            if result is None or self._lost.is_set():
                return Ending.LOST
            return self._report(result, directory)
        finally:
            self._closing.set()
            keeper.join()
            shutil.rmtree(directory, ignore_errors=True)

    # ---- the child

    def _evaluate(self, directory: Path) -> TrialResult | None:
        """The result, a failure when the child did not deliver one, None when the lease was lost."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            job = self._job(directory)
            child = self._nursery.fork()
        except NurseryBroken as error:
            return _environment(str(error), WHOLE)
        except ServerUnavailable:  # released while the server was away
            return None
        except (SparsemodError, OSError) as error:
            why = f"could not fetch what the trial starts from: {environment_failure(error) or error}"
            return _environment(why, WHOLE if isinstance(error, OSError) else FILES)
        try:
            with contextlib.suppress(BrokenPipeError):  # its end is seen, and told, by the loop below
                child.channel.send(job)
            return self._watch(child)
        finally:
            child.kill()
            child.wait()
            self._drain(child)
            child.close()

    def _job(self, directory: Path) -> Message:
        claim = self._claim
        job: Message = {
            "kind": "job",
            "evaluate": self._settings.evaluate,
            "spec": claim.spec.model_dump(mode="json"),
            "candidate": claim.candidate.model_dump(mode="json"),
            "epochs": claim.epochs,
            "seed": claim.seed,
            "device": self._settings.device,
            "workdir": str(directory),
        }
        if claim.parent is not None:
            weights = [artifact for artifact in claim.parent.artifacts if artifact.kind == "weights"]
            if not weights:
                raise InvalidInput("parent", claim.parent.index, "a trial whose weights are stored")
            job["parent"] = {
                "parameters": claim.parent.parameters,
                "epochs": claim.parent.epochs,
                "weights": str(self._fetch(weights[0].digest)),
            }
        if claim.checkpoint is not None:
            job["checkpoint"] = str(self._fetch(claim.checkpoint))
        return job

    def _fetch(self, digest: str) -> Path:
        """The content of `digest` as a local file, downloaded once per worker. Raises NotFound, or ServerUnavailable once released."""
        path = self._settings.directory / "downloads" / digest.removeprefix("sha256:")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._insist(lambda: self._server.download(digest, path))
        return path

    def _watch(self, child: Child) -> TrialResult | None:
        """Read what the child says until it is done, and hold it to its limits."""
        began = time.monotonic()
        asked: float | None = None
        selector = selectors.DefaultSelector()
        selector.register(child.channel, selectors.EVENT_READ)
        selector.register(child.output, selectors.EVENT_READ)
        limits = self._claim.spec.limits
        result: TrialResult | None = None
        looked = 0.0
        while not child.channel.closed:
            for key, _ in selector.select(WATCH_SECONDS):
                if key.fileobj is child.channel:
                    for message in child.channel.receive():
                        result = self._take(message, child) or result
                elif not self._take_output(child):
                    selector.unregister(child.output)
            now = time.monotonic()
            if result is not None:
                break
            if self._lost.is_set():
                return None
            if now - looked >= WATCH_SECONDS:
                looked = now
                self._peak = max(self._peak, child.memory())
                if limits.memory is not None and self._peak > limits.memory:
                    return self._cut(
                        child, f"used {_bytes(self._peak)}, limits.memory is {_bytes(limits.memory)}"
                    )
            if now - began > limits.trial_seconds:
                return self._cut(child, f"took longer than limits.trial_seconds = {limits.trial_seconds:g} s")
            if asked is None and (self._stop.is_set() or self._release.is_set()):
                asked = now
                with contextlib.suppress(OSError):  # already ending
                    child.channel.send({"kind": "stop"})
            if asked is not None and now - asked > self._settings.stop_grace:
                child.kill()
                note = f"did not stop by itself within {self._settings.stop_grace:g} s and was killed"
                return TrialResult(state=TrialState.STOPPED, notes=(note,))
        return result or self._died(child)

    def _take(self, message: Message, child: Child) -> TrialResult | None:
        match message["kind"]:
            case "point":
                with self._lock:
                    self._points.append(CurvePoint.model_validate(message["point"]))
            case "log":
                self._log.add(message["message"], message["level"], message["time"])
            case "stage":
                self._stage = message["stage"]
            case "checkpoint":
                with self._lock:
                    self._checkpoint = Path(message["path"])
            case "result":
                # A child has come through with this dataset, so the nursery may load it for those to come.
                self._nursery.keep_dataset(self._claim.spec.model_dump(mode="json"))
                return TrialResult.model_validate(message["result"])
            case "invalid":
                text = message["message"]
                failure = Failure(kind=FailureKind.INVALID, message=text, detail=message["type"])
                return TrialResult(state=TrialState.FAILED, failure=failure)
            case "environment":
                return _environment(message["message"], WHOLE if message["whole"] else "")
            case "fault":
                return _fault(message["message"])
        return None

    def _take_output(self, child: Child) -> bool:
        """Pass on what the child printed; False once the stream has ended."""
        lines = child.read_output()
        for line in lines or ():
            self._log.output(line, time.time())
        return lines is not None

    def _drain(self, child: Child) -> None:
        """Take what an ended child printed last; not for long, for a process that it has set free may still hold the stream."""
        limit = time.monotonic() + DRAIN_OUTPUT_SECONDS
        while time.monotonic() < limit:
            readable, _, _ = select.select([child.output], [], [], DRAIN_OUTPUT_SECONDS)
            if not readable or not self._take_output(child):
                return

    def _cut(self, child: Child, why: str) -> TrialResult:
        child.kill()
        return _fault(f"{why} (in stage {self._stage!r}) and was killed")

    def _died(self, child: Child) -> TrialResult:
        """The failure of a child that ended without a result."""
        code = child.wait()
        self._drain(child)
        hint = ""
        if code == -signal.SIGKILL:
            hint = f"; not by this worker, so perhaps by the kernel for want of memory (it held {_bytes(self._peak)} at last sight)"
        return _fault(
            f"the trial's process {child.ending()} in stage {self._stage!r}{hint}", "\n".join(child.lines)
        )

    # ---- the server

    def _keep_lease(self) -> None:
        """Renew the lease at a third of its length, and send on points, log lines and checkpoints in between."""
        pause = self._claim.lease_seconds / 3
        renew = time.monotonic() + pause
        while not self._closing.wait(min(FORWARD_SECONDS, pause)):
            try:
                if time.monotonic() >= renew:
                    answer = self._server.heartbeat(self._claim.attempt, self._claim.token)
                    renew = time.monotonic() + pause
                    if answer.stop:
                        self._stop.set()
                self._forward()
            except (Conflict, NotFound):
                self._lost.set()
                return
            except ServerUnavailable as error:
                # A restart, perhaps: nothing is lost, it all stays here. The lease is renewed first thing when the server is back.
                if not isinstance(error, NoSpace):
                    renew = time.monotonic()
            except Exception as error:  # noqa: BLE001 - whatever one report ends in, the lease must go on being renewed
                logger.warning(
                    "a report failed, will try again", attempt=self._claim.attempt, reason=str(error)
                )

    def _forward(self) -> None:
        """Send what has gathered; what could not be sent is kept. Raises Conflict, ServerUnavailable."""
        with self._forwarding:
            self._forward_one_at_a_time()

    def _forward_one_at_a_time(self) -> None:
        with self._lock:
            points, checkpoint = self._points[:BATCH], self._checkpoint
        log, mark = self._log.batch(BATCH)
        if points or log:
            try:
                self._server.points(self._claim.attempt, self._claim.token, points, log)
            except InvalidInput as error:
                self._refusals += 1
                if self._refusals < REFUSALS:
                    raise ServerError(f"curve points or log lines refused: {error}") from error
                # Refused for ever: to send it again would only hold up what comes after it.
                logger.warning(
                    "curve points or log lines refused", attempt=self._claim.attempt, reason=str(error)
                )
            self._refusals = 0
            self._log.sent(mark)
            with self._lock:
                del self._points[: len(points)]
        if checkpoint is not None:
            digest = self._server.upload(checkpoint)
            self._server.checkpoint(self._claim.attempt, self._claim.token, digest)
            with self._lock:
                if self._checkpoint == checkpoint:
                    self._checkpoint = None
            checkpoint.unlink(missing_ok=True)

    def _report(self, result: TrialResult, directory: Path) -> Ending:
        """Upload the files, then finish; waits for a server that is away."""
        released = self._release.is_set() and result.state is TrialState.STOPPED and not self._stop.is_set()
        if released:
            message = "the worker was asked to end and gave the trial back"
            result = TrialResult(
                state=TrialState.FAILED,
                failure=Failure(kind=FailureKind.FAULT, message=message, detail=RELEASED),
            )
        try:
            try:
                self._deliver_files(result, directory)
            except (Conflict, NotFound, ServerUnavailable):
                raise
            except (SparsemodError, OSError) as error:
                why = f"what the trial wrote could not be stored: {environment_failure(error) or error}"
                result = _environment(why, WHOLE if isinstance(error, OSError) else FILES)
            self._finish(result)
        except (Conflict, NotFound):
            return Ending.LOST
        except ServerUnavailable:
            return (
                Ending.LOST
            )  # released while the server was away: the lease runs out, the trial is tried again
        environment = result.failure is not None and result.failure.kind is FailureKind.ENVIRONMENT
        return Ending.RELEASED if released or environment else Ending.FINISHED

    def _deliver_files(self, result: TrialResult, directory: Path) -> None:
        """Curve, log, checkpoint and the files of the result. Raises what `_insist` raises, OSError."""
        files = _files(directory)
        while self._points or self._log or self._checkpoint is not None:
            self._insist(self._forward)
        for artifact in result.artifacts:
            path = files.get(artifact.digest)
            if path is not None:
                self._insist(partial(self._server.upload, path))

    def _finish(self, result: TrialResult) -> None:
        """Deliver the result; one that the server refuses, or fails at, becomes a fault that says why."""
        attempt, token = self._claim.attempt, self._claim.token
        try:
            self._insist(lambda: self._server.finish(attempt, token, result))
        except (Conflict, NotFound, ServerUnavailable):
            raise
        except SparsemodError as error:
            refused = _fault(f"the server refused the result: {error}")
            self._insist(lambda: self._server.finish(attempt, token, refused))

    def _insist(self, request: Callable[[], Any]) -> Any:
        """Do `request` until the server answers. Raises Conflict and NotFound at once, ServerUnavailable only once released.

        A server that is away, or has no space, is waited for; the lease is renewed meanwhile. One that answers but fails is asked a few
        times more, and so is one that refuses: then what it said is raised.
        """
        backoff = Backoff(*RETRY_SECONDS)
        failures = 0
        while True:
            try:
                return request()
            except (Conflict, NotFound):
                raise
            except SparsemodError as error:
                failures += not isinstance(error, ServerUnavailable)
                most = REFUSALS - 1 if isinstance(error, InvalidInput) else SERVER_ERRORS
                if failures > most or self._lost.is_set() or self._release.wait(backoff.pause()):
                    raise


def _bytes(count: int) -> str:
    return METRICS["model_size"].show(count)


def _fault(message: str, detail: str = "") -> TrialResult:
    return TrialResult(
        state=TrialState.FAILED, failure=Failure(kind=FailureKind.FAULT, message=message, detail=detail)
    )


def _environment(message: str, detail: str) -> TrialResult:
    """The machine lacks something: the trial is given back."""
    failure = Failure(kind=FailureKind.ENVIRONMENT, message=message, detail=detail)
    return TrialResult(state=TrialState.FAILED, failure=failure)


def _files(directory: Path) -> dict[str, Path]:
    """The files that the trial wrote, by digest."""
    return {
        "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith("checkpoint-")
    }
