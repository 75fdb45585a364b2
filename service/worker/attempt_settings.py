"""What an attempt needs: its settings, its server, its endings, and failures as reports."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from service.schemas.trials import LogLine
from sparsemod.files import digest_of
from sparsemod.records import CurvePoint, Failure, FailureKind, TrialResult, TrialState
from sparsemod.units import METRICS

FORWARD_SECONDS = 0.5
"""Minimum seconds between two reports of curve points and log lines."""

WATCH_SECONDS = 0.2
"""Seconds between two checks of a child's time and memory."""

BATCH = 2000
"""Maximum number of curve points, and of log lines, in one request."""

DRAIN_OUTPUT_SECONDS = 1.0
"""Time limit for reading the remaining output of a child that has ended."""

SERVER_ERRORS = 8
"""Repetitions of a request after server errors, which may be temporary or caused by the request."""

REFUSALS = 3
"""Attempts to send a report that is refused as invalid. A single refusal may come from a proxy."""

RETRY_SECONDS = (0.2, 5.0)
"""First and longest pause before a request is repeated."""

RELEASED = "released"
"""`Failure.detail` of a trial that its worker gave back. It is no fault of the trial."""

WHOLE, FILES = "whole", "files"
"""`Failure.detail` of an environment failure: WHOLE affects this worker for all experiments; FILES are
missing on the server."""

STOP_GRACE_SECONDS = 20.0
"""Seconds that a child may take to stop before it is killed."""


class Ending(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"  # the server accepted the report
    LOST = "lost"  # the lease was lost: nothing was reported
    RELEASED = "released"  # given back unfinished, because the worker ends or the environment failed


Following = tuple[str, str, int]
"""Worker, device and slots of a worker that wants its next trial with the answer to its report."""


class Server(Protocol):
    """The methods of `service.client.client.Client` that an attempt uses."""

    def heartbeat(self, attempt: int, token: str) -> Any: ...
    def points(self, attempt: int, token: str, points: list[CurvePoint], log: list[LogLine]) -> Any: ...
    def checkpoint(self, attempt: int, token: str, digest: str) -> Any: ...
    def finish(
        self, attempt: int, token: str, result: TrialResult, following: Following | None = None
    ) -> Any: ...
    def upload(self, content: bytes | Path) -> str: ...
    def download(self, digest: str, path: Path) -> Path: ...


@dataclass(frozen=True)
class AttemptSettings:
    """Settings of the child: torch device, evaluating function ("module:attribute"), folder for attempts and
    downloads."""

    device: str
    evaluate: str
    directory: Path
    stop_grace: float = STOP_GRACE_SECONDS


def show_bytes(count: int) -> str:
    return METRICS["model_size"].show(count)


def fault_result(message: str, detail: str = "") -> TrialResult:
    return TrialResult(
        state=TrialState.FAILED, failure=Failure(kind=FailureKind.FAULT, message=message, detail=detail)
    )


def ended_early(code: int | None, ending: str, stage: str, peak: int, lines: Iterable[str]) -> TrialResult:
    """Return the failure of a child that ended with `code` and without a result; it last used `peak` bytes."""
    hint = ""
    if code == -signal.SIGKILL:
        hint = f"; not by this worker, so perhaps by the kernel because memory ran out (it last used {show_bytes(peak)})"
    return fault_result(f"the trial's process {ending} in stage {stage!r}{hint}", "\n".join(lines))


def environment_result(message: str, detail: str) -> TrialResult:
    """Return the result for a failure of the machine. The server queues the trial again."""
    failure = Failure(kind=FailureKind.ENVIRONMENT, message=message, detail=detail)
    return TrialResult(state=TrialState.FAILED, failure=failure)


def files_by_digest(directory: Path) -> dict[str, Path]:
    """Return digest -> file that the trial wrote."""
    return {
        digest_of(path.read_bytes()): path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith("checkpoint-")
    }
