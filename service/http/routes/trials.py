"""Trials: list, show, curve, log, devices, attach, stop."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.http.routes.common import ExperimentId, Key, Limit, Offset, StoreDep, TrialIndex, failures
from service.http.spec_checks import check_candidate
from service.schemas.report_rows import to_row
from service.schemas.trials import AttachTrial, LogLine, Page, TrialView
from service.store import Store
from sparsemod.records import CurvePoint, Label, Measurement, TrialState
from sparsemod.report.results import csv_header, csv_lines
from sparsemod.targets import DeviceFit, device_fits

router = APIRouter(prefix="/experiments/{experiment:number}/trials", tags=["trials"])

CSV_TRIALS = 500
"""Trials that are read at once for a table."""

Sort = Literal[
    "index", "state", "round", "origin", "epochs", "trained_epochs", "created_at", "finished_at",
    "error", "model_size", "working_memory", "latency", "flash", "ram", "macs",
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
        Literal["json", "csv"], Query(description="CSV holds all trials that match, not a page of them.")
    ] = "json",
) -> Page[TrialView] | Response:
    """Filtered, sorted and paged; `total` counts all that match."""
    chosen: dict[str, Any] = {
        "state": state, "round": round, "origin": origin, "sort": sort, "descending": order == "desc",
    }  # fmt: skip
    if format == "csv":
        indices = store.trial_indices(experiment, **chosen)
        headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-trials.csv"'}
        return StreamingResponse(_csv(store, experiment, indices), media_type="text/csv", headers=headers)
    items, total = store.trials(experiment, **chosen, limit=limit, offset=offset)
    return Page[TrialView](items=tuple(items), total=total)


def _csv(store: Store, experiment: int, indices: list[int]) -> Iterator[str]:
    """The table piece by piece, so that neither the server's memory nor another request pays for a large one.

    A trial that is deleted meanwhile is left out. An error ends the connection before the end of the answer, which a client notices.
    """
    metrics, parameters = store.csv_columns(experiment, indices)
    yield csv_header(metrics, parameters)
    for start in range(0, len(indices), CSV_TRIALS):
        views = store.trials_at(experiment, indices[start : start + CSV_TRIALS])
        yield csv_lines(map(to_row, views), metrics, parameters)


@router.post("", status_code=201, summary="Attach a candidate", responses=failures(400, 404, 409, 413))
def attach_trial(
    request: Request,
    store: StoreDep,
    response: Response,
    experiment: ExperimentId,
    trial: AttachTrial,
    key: Key = None,
) -> TrialView:
    """Queue a candidate of your own. Its parameters must be valid in the experiment's space: exactly the active ones, within their bounds. Where
    only the worker knows the data's shape, it is the one to check them, and an invalid candidate becomes a failed trial.

    A candidate that was there before is trained again, with another seed.
    """
    spec = store.valid_spec(experiment)
    view = store.attach(experiment, check_candidate(spec, trial.parameters), trial.epochs, key)
    root = request.scope.get("root_path", "")
    response.headers["location"] = f"{root}/experiments/{experiment}/trials/{view.index}"
    return view


@router.get("/{index:index}", summary="Show a trial", responses=failures(404))
def show_trial(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> TrialView:
    """Everything about a trial except curve and log."""
    return store.trial(experiment, index)


@router.get("/{index:index}/curve", summary="A trial's learning curve", responses=failures(404))
def show_curve(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> list[CurvePoint]:
    """One point per epoch. A loss that is not a number is the text "NaN" or "Infinity"."""
    return store.curve(experiment, index)


@router.get("/{index:index}/log", summary="A trial's log", responses=failures(404))
def show_log(
    store: StoreDep,
    experiment: ExperimentId,
    index: TrialIndex,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="How many lines are known already.")] = 0,
    limit: Limit = 1000,
) -> list[LogLine]:
    """The lines of all its attempts, oldest first."""
    return store.log(experiment, index, after, limit)


@router.get("/{index:index}/devices", summary="Which devices a trial fits", responses=failures(404))
def show_trial_devices(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> tuple[DeviceFit, ...]:
    """It beside every device that the server knows: bytes needed and there, estimated time. From what was measured, else from the costs that
    were known before training; empty where there are neither."""
    trial = store.trial(experiment, index)
    known = [
        Measurement(metric=name, value=value, unit="B", method="before training")
        for name, value in trial.costs.items()
    ]
    return device_fits(trial.measurements) or device_fits(known)


@router.post("/{index:index}/stop", summary="Stop a trial", responses=failures(404, 409))
def stop_trial(store: StoreDep, experiment: ExperimentId, index: TrialIndex) -> TrialView:
    """A queued trial ends at once, a running one between two epochs."""
    return store.stop_trial(experiment, index)
