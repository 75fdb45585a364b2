"""Endpoints for workers: claim, heartbeat, points, checkpoint, finish; and the list of workers."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service import telemetry
from service.files.artifacts import ArtifactFiles
from service.files.upload_checks import check_artifact, check_safetensors
from service.http.routes.common import AttemptId, FilesDep, LoginDep, StoreDep, failures
from service.schemas.logins import Login
from service.schemas.workers import (
    AttemptOutcome,
    Claim,
    ClaimRequest,
    Drain,
    Fence,
    Heartbeat,
    ReportCheckpoint,
    ReportPoints,
    ReportResult,
    WorkerView,
)
from service.store.groups import Report

router = APIRouter(tags=["workers"])

WorkerName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]+$",
        description="Name of the worker.",
        examples=["lab-1"],
    ),
]


@router.get("/workers", summary="List workers", responses=failures())
def list_workers(store: StoreDep) -> list[WorkerView]:
    """Lists the workers that contacted the server in the last hour, and the trials they hold."""
    return store.workers()


@router.post(
    "/workers/{name:path}/drain", status_code=204, summary="Drain a worker", responses=failures(400, 404, 413)
)
def drain(store: StoreDep, name: WorkerName, change: Drain) -> Response:
    """Gives the worker no more trials; it finishes those that it has, and keeps running.
    `{"drain": false}` undoes this and ends the worker's pauses."""
    store.drain_worker(name, change.drain)
    return Response(status_code=204)


@router.post(
    "/claims",
    summary="Claim a trial",
    response_model=Claim,
    responses={204: {"description": "No trial is queued for this worker."}, **failures(400, 409, 413)},
)
def claim(store: StoreDep, login: LoginDep, body: ClaimRequest) -> Claim | Response:
    """Hands out the oldest queued trial of a running experiment, with a lease.
    Each trial goes to one worker; only its token may report on it."""
    number = None if login is None else login.token
    claimed = store.claim(body.worker, body.device, body.slots, body.request, number, body.started)
    return Response(status_code=204) if claimed is None else _traced(claimed)


@router.post(
    "/attempts/{attempt:number}/heartbeat", summary="Renew a lease", responses=failures(400, 404, 409, 413)
)
def heartbeat(store: StoreDep, attempt: AttemptId, fence: Fence) -> Heartbeat:
    """Renews the lease. Answers 409 when the lease was lost: the worker should drop the trial."""
    return store.heartbeat(attempt, fence.token)


@router.post(
    "/attempts/{attempt:number}/points",
    summary="Report curve and log",
    responses=failures(400, 404, 409, 413),
)
def points(store: StoreDep, attempt: AttemptId, report: ReportPoints) -> Heartbeat:
    """Stores points of the learning curve and log lines, and renews the lease as a heartbeat does.
    May be repeated: nothing is stored twice."""
    return store.points(attempt, report.token, report.points, report.log)


@router.post(
    "/attempts/{attempt:number}/checkpoint",
    status_code=204,
    summary="Name a checkpoint",
    responses=failures(400, 404, 409, 413),
)
def checkpoint(store: StoreDep, files: FilesDep, attempt: AttemptId, report: ReportCheckpoint) -> Response:
    """Records the uploaded safetensors file from which a later attempt can resume. Renews the lease."""
    if files.has(report.digest):
        check_safetensors(files.path(report.digest), "digest")
    store.checkpoint(attempt, report.token, report.digest)
    return Response(status_code=204)


@router.post(
    "/attempts/{attempt:number}/finish", summary="Report a result", responses=failures(400, 404, 409, 413)
)
def finish(
    store: StoreDep, files: FilesDep, login: LoginDep, attempt: AttemptId, report: ReportResult
) -> AttemptOutcome:
    """Ends an attempt. The same report again gets the same answer. Upload the files before.

    With `next`, the answer contains the worker's next trial: one request ends a trial and claims another.

    A fault queues the trial again until its attempts are used up; a network that cannot be built fails it at
    once. A failure of the worker's machine (kind `environment`) uses no attempt: the trial is queued again,
    and the worker is paused for a while.
    """
    if report.next is None:
        _check_files(files, report)
        return store.finish(attempt, report.token, report.result, report.log)
    (answer,) = store.finish_and_claim_all([reported(files, login, attempt, report, report.next)])
    if isinstance(answer, Exception):
        raise answer
    return traced(answer)


def reported(
    files: ArtifactFiles, login: Login | None, attempt: int, report: ReportResult, ask: ClaimRequest
) -> Report:
    """Return a report that claims the next trial for the store. Raises InvalidInput for its files."""
    _check_files(files, report)
    number = None if login is None else login.token
    return Report(attempt, report.token, report.result, ask, report.log, number)


def _check_files(files: ArtifactFiles, report: ReportResult) -> None:
    for place, artifact in enumerate(report.result.artifacts):
        check_artifact(artifact, files.path(artifact.digest), f"result.artifacts.{place}")


def traced(outcome: AttemptOutcome) -> AttemptOutcome:
    """Return an outcome whose claim has the trace of this request, so that the attempt's spans belong to it."""
    if outcome.next is None or not telemetry.enabled():
        return outcome
    return outcome.model_copy(update={"next": _traced(outcome.next)})


def _traced(claim: Claim) -> Claim:
    if not telemetry.enabled():
        return claim
    return claim.model_copy(update={"trace": telemetry.parent_of_requests()})
