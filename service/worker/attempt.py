"""One attempt at a trial, from claim to report: watch the child process and forward its messages.

The worker survives everything that happens in the child. A crash, a signal, or too much memory or time
becomes a failure with a message that names the cause. The attempt waits for a server that is unavailable.
When the lease is lost, it kills the child and reports nothing.
"""

import contextlib
import contextvars
import select
import selectors
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from service import telemetry
from service.errors import NoSpace, ServerError
from service.worker.attempt_settings import (
    BATCH,
    DRAIN_OUTPUT_SECONDS,
    FILES,
    FORWARD_SECONDS,
    REFUSALS,
    RELEASED,
    WATCH_SECONDS,
    WHOLE,
    AttemptSettings,
    Ending,
    Following,
    Server,
    ended_early,
    environment_result,
    fault_result,
    files_by_digest,
    show_bytes,
)
from service.worker.channel import Message
from service.worker.fork_server import Child, ForkServer, ForkServerBroken
from service.worker.retries import retry_request
from service.worker.trial_log import TrialLog
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable, SparsemodError
from sparsemod.pipeline.environment import environment_failure
from sparsemod.records import CurvePoint, Failure, FailureKind, TrialResult, TrialState
from sparsemod.spec.model_files import model_files

if TYPE_CHECKING:
    from service.schemas.workers import Claim

logger = structlog.get_logger("worker")


class Attempt:
    """Runs one claim to its end. Call `run` once; call `release` from any thread."""

    def __init__(
        self,
        server: Server,
        claim: "Claim",
        fork_server: ForkServer,
        settings: AttemptSettings,
        following: Callable[[], Following | None] = lambda: None,
    ) -> None:
        self._following = following
        self.next: Claim | None = None  # the claim that came with the answer to the report
        self._server, self._claim, self._fork_server, self._settings = server, claim, fork_server, settings
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
        self._stage_span: Any = None

    def release(self) -> None:
        """Request an early end: the child stops between epochs, its checkpoint is kept, the trial is queued
        again."""
        self._release.set()

    def run(self) -> Ending:
        """Evaluate the trial and report the result. No trial can make this raise."""
        claim = self._claim
        with telemetry.span(
            "attempt", claim.trace, sparsemod_experiment=claim.experiment, sparsemod_trial=claim.trial,
            sparsemod_attempt=claim.attempt,
        ) as span:  # fmt: skip
            ending = self._run()
            if span is not None:
                span.set_attribute("sparsemod.ending", str(ending))
            return ending

    def _run(self) -> Ending:
        directory = self._settings.directory / f"attempt-{self._claim.attempt}"
        # The keeper's requests belong to the attempt's span too.
        work = partial(contextvars.copy_context().run, self._keep_lease)
        keeper = threading.Thread(target=work, name=f"lease-{self._claim.attempt}", daemon=True)
        keeper.start()
        try:
            result = self._evaluate(directory)
            self._enter_stage(None)
            if result is None or self._lost.is_set():
                return Ending.LOST
            with telemetry.span("report", sparsemod_state=result.state.value):
                return self._report(result, directory)
        finally:
            self._enter_stage(None)
            self._closing.set()
            keeper.join()
            shutil.rmtree(directory, ignore_errors=True)

    def _enter_stage(self, name: str | None) -> None:
        """End the span of the current stage and begin one for the stage `name`."""
        if self._stage_span is not None:
            self._stage_span.end()
        self._stage_span = None if name is None else telemetry.open_span(f"stage {name}")

    # ---- the child

    def _evaluate(self, directory: Path) -> TrialResult | None:
        """Return the child's result, a failure when it has none, or None when the lease was lost."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            job = self._job(directory)
            child = self._fork_server.fork()
        except ForkServerBroken as error:
            return environment_result(str(error), WHOLE)
        except ServerUnavailable:  # released while the server was away
            return None
        except (SparsemodError, OSError) as error:
            why = f"could not fetch the trial's input files: {environment_failure(error) or error}"
            return environment_result(why, WHOLE if isinstance(error, OSError) else FILES)
        try:
            with contextlib.suppress(BrokenPipeError):  # _watch reports the child's end
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
                "rewind": [str(self._fetch(a.digest)) for a in claim.parent.artifacts if a.kind == "rewind"],
            }
        for digest in model_files(claim.spec):
            job["models"] = str(self._fetch(digest).parent)
        if claim.checkpoint is not None:
            job["checkpoint"] = str(self._fetch(claim.checkpoint))
        return job

    def _fetch(self, digest: str) -> Path:
        """Return a local file with this content, downloaded once. Raises NotFound, ServerUnavailable."""
        path = self._settings.directory / "downloads" / digest.removeprefix("sha256:")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._retry_request(lambda: self._server.download(digest, path))
        return path

    def _watch(self, child: Child) -> TrialResult | None:
        """Read the child's messages until it is done, and enforce its limits.

        Return None when the lease was lost.
        """
        began = time.monotonic()
        stop_sent: float | None = None
        selector = selectors.DefaultSelector()
        selector.register(child.channel, selectors.EVENT_READ)
        selector.register(child.output, selectors.EVENT_READ)
        limits = self._claim.spec.limits
        result: TrialResult | None = None
        last_check = 0.0
        while not child.channel.closed:
            for key, _ in selector.select(WATCH_SECONDS):
                if key.fileobj is child.channel:
                    for message in child.channel.receive():
                        result = self._handle(message, child) or result
                elif not self._log_output(child):
                    selector.unregister(child.output)
            now = time.monotonic()
            if result is not None:
                break
            if self._lost.is_set():
                return None
            if now - last_check >= WATCH_SECONDS:
                last_check = now
                self._peak = max(self._peak, child.memory())
                if limits.memory is not None and self._peak > limits.memory:
                    return self._kill_with_fault(
                        child, f"used {show_bytes(self._peak)}, limits.memory is {show_bytes(limits.memory)}"
                    )
            if now - began > limits.trial_seconds:
                return self._kill_with_fault(
                    child, f"took longer than limits.trial_seconds = {limits.trial_seconds:g} s"
                )
            if stop_sent is None and (self._stop.is_set() or self._release.is_set()):
                stop_sent = now
                with contextlib.suppress(OSError):  # already ending
                    child.channel.send({"kind": "stop"})
            if stop_sent is not None and now - stop_sent > self._settings.stop_grace:
                child.kill()
                note = f"did not stop by itself within {self._settings.stop_grace:g} s and was killed"
                return TrialResult(state=TrialState.STOPPED, notes=(note,))
        return result or self._ended_early(child)

    def _handle(self, message: Message, child: Child) -> TrialResult | None:
        match message["kind"]:
            case "point":
                with self._lock:
                    self._points.append(CurvePoint.model_validate(message["point"]))
            case "log":
                self._log.add(message["message"], message["level"], message["time"])
            case "stage":
                self._stage = message["stage"]
                self._enter_stage(self._stage)
            case "checkpoint":
                with self._lock:
                    self._checkpoint = Path(message["path"])
            case "result":
                # A child has finished with this dataset, so the fork server may load it for later children.
                self._fork_server.keep_dataset(self._claim.spec.model_dump(mode="json"))
                return TrialResult.model_validate(message["result"])
            case "invalid":
                text = message["message"]
                failure = Failure(kind=FailureKind.INVALID, message=text, detail=message["type"])
                return TrialResult(state=TrialState.FAILED, failure=failure)
            case "environment":
                return environment_result(message["message"], WHOLE if message["whole"] else "")
            case "fault":
                return fault_result(message["message"])
        return None

    def _log_output(self, child: Child) -> bool:
        """Log the child's output. Return False after the end of the stream."""
        lines = child.read_output()
        for line in lines or ():
            self._log.output(line, time.time())
        return lines is not None

    def _drain(self, child: Child) -> None:
        """Read the last output of an ended child, for a limited time: a detached subprocess may hold the stream."""
        limit = time.monotonic() + DRAIN_OUTPUT_SECONDS
        while time.monotonic() < limit:
            readable, _, _ = select.select([child.output], [], [], DRAIN_OUTPUT_SECONDS)
            if not readable or not self._log_output(child):
                return

    def _kill_with_fault(self, child: Child, why: str) -> TrialResult:
        child.kill()
        return fault_result(f"{why} (in stage {self._stage!r}) and was killed")

    def _ended_early(self, child: Child) -> TrialResult:
        """Return the failure of a child that ended without a result."""
        code = child.wait()
        self._drain(child)
        return ended_early(code, child.ending(), self._stage, self._peak, child.lines)

    # ---- the server

    def _keep_lease(self) -> None:
        """Renew the lease three times per lease length; forward points, log lines and checkpoints in between."""
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
                # The server may be restarting. Unsent data stay here. Renew the lease first when the server
                # is back.
                if not isinstance(error, NoSpace):
                    renew = time.monotonic()
            except Exception as error:  # noqa: BLE001 - no failed report may stop the renewal of the lease
                logger.warning("report failed, retrying", attempt=self._claim.attempt, reason=str(error))

    def _forward(self) -> None:
        """Send the collected points, log lines and checkpoint.

        Keep what could not be sent. Raises Conflict, ServerUnavailable.
        """
        with self._forwarding:
            self._forward_one_at_a_time()

    def _forward_one_at_a_time(self) -> None:
        with self._lock:
            points, checkpoint = self._points[:BATCH], self._checkpoint
        log, mark = self._log.batch(BATCH)
        if points or log:
            try:
                answer = self._server.points(self._claim.attempt, self._claim.token, points, log)
                if answer.stop:
                    self._stop.set()
            except InvalidInput as error:
                self._refusals += 1
                if self._refusals < REFUSALS:
                    raise ServerError(f"curve points or log lines refused: {error}") from error
                # Drop the batch: sending it again would only block later ones.
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
        """Upload the files, then report the result. Waits for a server that is unavailable."""
        released = self._release.is_set() and result.state is TrialState.STOPPED and not self._stop.is_set()
        if released:
            message = "the worker had to end and gave the trial back"
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
                why = f"the trial's files could not be stored: {environment_failure(error) or error}"
                result = environment_result(why, WHOLE if isinstance(error, OSError) else FILES)
            self._finish(result)
        except (Conflict, NotFound):
            return Ending.LOST
        except ServerUnavailable:
            return Ending.LOST  # after a release: the lease expires and the trial is queued again
        environment = result.failure is not None and result.failure.kind is FailureKind.ENVIRONMENT
        return Ending.RELEASED if released or environment else Ending.FINISHED

    def _deliver_files(self, result: TrialResult, directory: Path) -> None:
        """Send curve, log, checkpoint and the files of the result. Raises OSError and the errors of `retry_request`."""
        files = files_by_digest(directory)
        while self._points or self._log or self._checkpoint is not None:
            self._retry_request(self._forward)
        for artifact in result.artifacts:
            path = files.get(artifact.digest)
            if path is not None:
                self._retry_request(partial(self._server.upload, path))

    def _finish(self, result: TrialResult) -> None:
        """Report the result. When the server refuses it or fails on it, report a fault with the reason."""
        attempt, token = self._claim.attempt, self._claim.token
        try:
            following = None if self._release.is_set() else self._following()
            outcome = self._retry_request(lambda: self._server.finish(attempt, token, result, following))
            self.next = outcome.next
        except (Conflict, NotFound, ServerUnavailable):
            raise
        except SparsemodError as error:
            refused = fault_result(f"the server refused the result: {error}")
            self._retry_request(lambda: self._server.finish(attempt, token, refused))

    def _retry_request(self, request: Callable[[], Any]) -> Any:
        """Repeat `request` until the server answers, see `retry_request`; `_keep_lease` renews the lease meanwhile."""
        return retry_request(request, self._lost, self._release)
