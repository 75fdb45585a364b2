"""Trials: list, show, curve, log, devices, attach, stop."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.http.routes.common import ExperimentId, Key, Limit, Offset, StoreDep, TrialIndex, failures
from service.http.spec_checks import check_candidate
from service.schemas.trials import AttachTrial, LogLine, Page, TrialView
from service.store import Store
from sparsemod.records import CurvePoint, Label, Measurement, TrialState
from sparsemod.report.columns import columns
from sparsemod.report.results import csv_header, csv_lines
from sparsemod.targets import DeviceFit, device_fits

router = APIRouter(prefix="/experiments/{experiment:number}/trials", tags=["trials"])

CSV_TRIALS = 500
"""Number of trials that are read at once for a CSV table."""

Sort = Literal[
    "index", "state", "round", "origin", "epochs", "trained_epochs", "created_at", "finished_at",
    "error", "model_size", "working_memory", "latency", "flash", "ram", "energy", "macs",
    "hamming_error", "label_f1_error", "auc_error", "pixel_error", "iou_error", "rmse", "mae", "metric",
]  # fmt: skip


@router.get(
    "",
    summary="List trials",
    response_model=Page[TrialView],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **failures(404)},
)
def list_trials(
    store: StoreDep,
    experiment: ExperimentId,
    state: Annotated[TrialState | None, Query(description="Only trials in this state.")] = None,
    round: Annotated[Label | None, Query(description="Only trials of this round.")] = None,
    origin: Annotated[Label | None, Query(description="Only trials of this origin.")] = None,
    sort: Annotated[Sort, Query(description="A field, or a metric: trials without it come last.")] = "index",
    order: Annotated[Literal["asc", "desc"], Query(description="Ascending or descending.")] = "asc",
    limit: Limit = 100,
    offset: Offset = 0,
    format: Annotated[
        Literal["json", "csv"], Query(description="CSV contains all matching trials, not just a page.")
    ] = "json",
) -> Page[TrialView] | Response:
    """Returns a page of trials, filtered and sorted; `total` counts all matches."""
    filters: dict[str, Any] = {
        "state": state, "round": round, "origin": origin, "sort": sort, "descending": order == "desc",
    }  # fmt: skip
    if format == "csv":
        indices = store.trial_indices(experiment, **filters)
        headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-trials.csv"'}
        return StreamingResponse(_csv(store, experiment, indices), media_type="text/csv", headers=headers)
    items, total = store.trials(experiment, **filters, limit=limit, offset=offset)
    return Page[TrialView](items=tuple(items), total=total)


def _csv(store: Store, experiment: int, indices: list[int]) -> Iterator[str]:
    """Yield the table piece by piece, so that a large one neither fills the server's memory nor delays other
    requests.

    Skip trials that are deleted meanwhile. An error closes the connection before the end of the answer, which
    a client notices.
    """
    table_columns = columns(*store.csv_columns(experiment, indices))
    yield csv_header(table_columns)
    for start in range(0, len(indices), CSV_TRIALS):
        views = store.trials_at(experiment, indices[start : start + CSV_TRIALS])
        yield csv_lines(views, table_columns)


@router.post("", status_code=201, summary="Attach a candidate", responses=failures(400, 404, 409, 413))
def attach_trial(
    request: Request,
    store: StoreDep,
    response: Response,
    experiment: ExperimentId,
    trial: AttachTrial,
    key: Key = None,
) -> TrialView:
    """Queues your candidate. Its parameters must be valid in the experiment's space: exactly the active ones,
    within their bounds. When only the worker knows the data's shape, the worker checks them, and an invalid
    candidate becomes a failed trial.

    A candidate that exists already is trained again, with another seed.
    """
    spec = store.valid_spec(experiment)
    view = store.attach(experiment, check_candidate(spec, trial.parameters), trial.epochs, key)
    root = request.scope.get("root_path", "")
    response.headers["location"] = f"{root}/experiments/{experiment}/trials/{view.index}"
    return view


@router.get("/{index:index}", summary="Show a trial", responses=failures(404))
def show_trial(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> TrialView:
    """Returns everything about a trial except its curve and its log."""
    return store.trial(experiment, index)


@router.get("/{index:index}/curve", summary="Show a trial's learning curve", responses=failures(404))
def show_curve(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> list[CurvePoint]:
    """Returns one point per epoch. A loss that is not finite is the text "NaN" or "Infinity"."""
    return store.curve(experiment, index)


@router.get("/{index:index}/log", summary="Show a trial's log", responses=failures(404))
def show_log(
    store: StoreDep,
    experiment: ExperimentId,
    index: TrialIndex,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Number of lines already known.")] = 0,
    limit: Limit = 1000,
) -> list[LogLine]:
    """Returns the lines of all attempts, oldest first."""
    return store.log(experiment, index, after, limit)


@router.get("/{index:index}/devices", summary="Show which devices a trial fits", responses=failures(404))
def show_trial_devices(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> tuple[DeviceFit, ...]:
    """Compares a trial with every device that the server knows: bytes needed and available, estimated
    time. Uses the measurements, or else the costs known before training; empty when the trial has neither."""
    trial = store.trial(experiment, index)
    predicted = [
        Measurement(metric=name, value=value, unit="B", method="before training")
        for name, value in trial.costs.items()
    ]
    return device_fits(trial.measurements) or device_fits(predicted)


@router.post("/{index:index}/stop", summary="Stop a trial", responses=failures(404, 409))
def stop_trial(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> TrialView:
    """Stops a queued trial at once, a running one between two epochs."""
    return store.stop_trial(experiment, index)
