"""Requests and answers of workers: claims, leases, reports."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from service.schemas.trials import Digest, LogLine, PauseView, Request, Token, View, Word
from sparsemod.records import (
    Artifact,
    Candidate,
    CurvePoint,
    TrialResult,
    TrialState,
    Value,
)
from sparsemod.spec.experiment import ExperimentSpec


class ClaimRequest(Request):
    """A worker's request for a trial. A repeated `request` (any unique text) gets the same answer."""

    worker: Word
    device: Word = "cpu"
    slots: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    request: Token | None = None
    started: bool = Field(
        False,
        strict=True,
        description="Whether this is the worker's first claim; it ends earlier pauses of the worker.",
    )


class ParentTrial(View):
    """The trial whose weights a morph inherits."""

    index: int
    parameters: dict[str, Value]
    epochs: float
    artifacts: tuple[Artifact, ...]


class Claim(View):
    """A trial to evaluate. A report must carry `token`. The lease expires `lease_seconds` after the last heartbeat."""

    attempt: int
    token: str
    lease_seconds: float
    experiment: int
    trial: int
    spec: ExperimentSpec
    candidate: Candidate
    epochs: int
    seed: int
    parent: ParentTrial | None = None
    checkpoint: str | None = None
    trace: str | None = Field(
        None, description="The `traceparent` of the claim, for the spans of the attempt; null without traces."
    )


class Fence(Request):
    """The token that proves that the sender holds the lease."""

    token: Token


class Heartbeat(View):
    """The renewed lease lasts `lease_seconds`. `stop` tells the worker to end the trial between two epochs."""

    stop: bool
    lease_seconds: float


class ReportPoints(Fence):
    """Curve points (a repeated epoch replaces the earlier point) and log lines (a repeated line is stored once)."""

    points: Annotated[tuple[CurvePoint, ...], Field(max_length=10_000)] = ()
    log: Annotated[tuple[LogLine, ...], Field(max_length=10_000)] = ()


class ReportCheckpoint(Fence):
    """A checkpoint from which a later attempt can resume: the digest of an uploaded file."""

    digest: Digest


class ReportResult(Fence):
    """The end of an attempt. With `next`, the answer contains the worker's next trial, if there is one."""

    result: TrialResult
    log: Annotated[tuple[LogLine, ...], Field(max_length=10_000)] = ()
    next: ClaimRequest | None = None


class AttemptOutcome(View):
    """The trial's state after the result: final, or queued again."""

    experiment: int
    trial: int
    state: TrialState
    next: Claim | None = Field(None, description="The next trial, when the report asked for one.")


class WorkerView(View):
    """A worker that contacted the server recently, and the trials it holds, as [experiment, index] pairs."""

    name: str
    device: str
    slots: int
    first_seen: datetime
    last_seen: datetime
    alive: bool
    draining: bool = Field(False, description="Whether the worker gets no more trials.")
    pauses: tuple[PauseView, ...] = Field((), description="Current pauses of the worker, with reasons.")
    trials: tuple[tuple[int, int], ...]


class Drain(Request):
    """Whether a worker gets no more trials."""

    drain: bool = Field(True, strict=True)
