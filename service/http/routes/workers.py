"""What workers use: claim, heartbeat, points, checkpoint, finish; and the list of workers."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.files.upload_checks import check_artifact, check_safetensors
from service.http.routes.common import AttemptId, FilesDep, LoginDep, StoreDep, failures
from service.schemas.trials import (
    Claim,
    ClaimRequest,
    Drain,
    Fence,
    Finished,
    Heartbeat,
    ReportCheckpoint,
    ReportPoints,
    ReportResult,
    WorkerView,
)

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
    """The workers that were heard of in the last hour, and the trials they hold."""
    return store.workers()


@router.post(
    "/workers/{name:path}/drain", status_code=204, summary="Drain a worker", responses=failures(400, 404, 413)
)
def drain(store: StoreDep, name: WorkerName, wanted: Drain) -> Response:
    """It gets no more trials, and finishes those that it has; `{"drain": false}` takes that back, and ends its pauses. The worker itself
    goes on waiting."""
    store.drain_worker(name, wanted.drain)
    return Response(status_code=204)


@router.post(
    "/claims",
    summary="Claim a trial",
    response_model=Claim,
    responses={204: {"description": "There is nothing to do."}, **failures(400, 409, 413)},
)
def claim(store: StoreDep, login: LoginDep, wanted: ClaimRequest) -> Claim | Response:
    """The oldest queued trial of a running experiment, with a lease. Each trial goes to one worker; only its token may report on it."""
    number = None if login is None else login.token
    found = store.claim(wanted.worker, wanted.device, wanted.slots, wanted.request, number, wanted.started)
    return Response(status_code=204) if found is None else found


@router.post(
    "/attempts/{attempt:number}/heartbeat", summary="Renew a lease", responses=failures(400, 404, 409, 413)
)
def heartbeat(store: StoreDep, attempt: AttemptId, fence: Fence) -> Heartbeat:
    """409 when the lease was lost: the worker should drop the trial."""
    return store.heartbeat(attempt, fence.token)


@router.post(
    "/attempts/{attempt:number}/points",
    status_code=204,
    summary="Report curve and log",
    responses=failures(400, 404, 409, 413),
)
def points(store: StoreDep, attempt: AttemptId, report: ReportPoints) -> Response:
    """May be repeated: a point or a line that is known already is not stored twice. Renews the lease."""
    store.points(attempt, report.token, report.points, report.log)
    return Response(status_code=204)


@router.post(
    "/attempts/{attempt:number}/checkpoint",
    status_code=204,
    summary="Name a checkpoint",
    responses=failures(400, 404, 409, 413),
)
def checkpoint(store: StoreDep, files: FilesDep, attempt: AttemptId, report: ReportCheckpoint) -> Response:
    """The uploaded file, safetensors, from which a later attempt can go on. Renews the lease."""
    if files.has(report.digest):
        check_safetensors(files.path(report.digest), "digest")
    store.checkpoint(attempt, report.token, report.digest)
    return Response(status_code=204)


@router.post(
    "/attempts/{attempt:number}/finish", summary="Report a result", responses=failures(400, 404, 409, 413)
)
def finish(store: StoreDep, files: FilesDep, attempt: AttemptId, report: ReportResult) -> Finished:
    """The end of an attempt; the same report again gets the same answer. Files must have been uploaded before.

    A fault puts the trial back into the queue until its attempts are used up; a network that cannot be built fails it at once. What the
    worker's machine lacks (kind `environment`) spends no attempt: the trial is queued again, and the worker is paused for a while.
    """
    for place, artifact in enumerate(report.result.artifacts):
        check_artifact(artifact, files.path(artifact.digest), f"result.artifacts.{place}")
    return store.finish(attempt, report.token, report.result)
