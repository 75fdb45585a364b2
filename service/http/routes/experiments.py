"""Experiments: create, list, show, stop, resume, extend, events, and the experiment for Ax."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from service.http.routes.common import (
    ExperimentId,
    FilesDep,
    Key,
    Limit,
    LoginDep,
    Offset,
    StoreDep,
    failures,
)
from service.http.spec_checks import check_places, check_spec
from service.schemas.dashboard import Checked
from service.schemas.trials import (
    CreateExperiment,
    Event,
    ExperimentState,
    ExperimentSummary,
    ExperimentView,
    ExtendExperiment,
    Keep,
    Page,
    Retried,
    RetryTrials,
)
from sparsemod.errors import InvalidInput
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.extension import extended

router = APIRouter(tags=["experiments"])

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")

_EXAMPLE = """name: digits on an M4
dataset: {name: digits}
network: {family: cnn}
source: {name: grid, values: {head: [flatten, average]}, repetitions: 3}
objectives: [error, model_size]
budgets: ["flash <= 64 KB"]
"""

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CreateExperiment.model_json_schema()},
            "application/yaml": {"schema": {"type": "string"}, "example": _EXAMPLE},
        },
    }
}


async def _spec(request: Request) -> ExperimentSpec:
    """Return the spec in the body, JSON or YAML. Raises InvalidSpec, InvalidInput."""
    body = await request.body()
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind in YAML_TYPES:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise InvalidInput("body", body[:40], "text in UTF-8") from None
        from sparsemod.spec.files import loads

        return await run_in_threadpool(loads, text, "body")
    if kind != "application/json":
        raise InvalidInput("content-type", kind, f"application/json or {YAML_TYPES[0]}")
    return await run_in_threadpool(_from_json, body)


def _from_json(body: bytes) -> ExperimentSpec:
    """Return the spec in `{"spec": {...}}`. Raises InvalidSpec, InvalidInput."""
    try:
        data = json.loads(body)
        create = CreateExperiment.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise InvalidInput(field, first["input"], "a mapping {spec: {...}} and nothing else") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput("body", body[:40], f"JSON ({error})") from None
    return ExperimentSpec.parse(create.spec)


def _check(request: Request, spec: ExperimentSpec) -> None:
    check_places(spec, request.app.state.settings.dataset_dirs)
    check_spec(spec)


@router.post(
    "/experiments",
    status_code=201,
    summary="Create an experiment",
    openapi_extra=_BODY,
    responses={
        201: {
            "headers": {
                "Location": {
                    "description": "URL path of the experiment.",
                    "schema": {"type": "string"},
                    "required": True,
                }
            }
        },
        **failures(409, 413),
    },
)
async def create_experiment(
    request: Request, response: Response, store: StoreDep, login: LoginDep, key: Key = None
) -> ExperimentView:
    """Checks the spec and stores it; the search starts at once. The body is JSON `{"spec": {...}}`, or the
    spec as YAML.

    Errors name the field. Family and dataset must be registered on the server, which never accepts code over
    HTTP.
    """
    spec = await _spec(request)

    def make() -> ExperimentView:
        _check(request, spec)
        return store.create_experiment(spec, key, None if login is None else login.owner)

    view = await run_in_threadpool(make)
    response.headers["location"] = f"{request.scope.get('root_path', '')}/experiments/{view.id}"
    return view


@router.post("/experiments/check", summary="Check a spec", openapi_extra=_BODY, responses=failures(413))
async def check_experiment(request: Request) -> Checked:
    """Checks a spec without creating an experiment.
    Returns the spec with all its defaults, also as YAML, or an error that names the field."""
    from sparsemod.spec.files import dump

    spec = await _spec(request)
    await run_in_threadpool(_check, request, spec)
    return Checked(spec=spec, yaml=await run_in_threadpool(dump, spec))


@router.get("/experiments", summary="List experiments", responses=failures())
def list_experiments(
    store: StoreDep,
    state: Annotated[ExperimentState | None, Query(description="Only experiments in this state.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Page[ExperimentSummary]:
    """Lists all experiments, newest first."""
    items, total = store.experiments(limit, offset, state)
    return Page[ExperimentSummary](items=tuple(items), total=total)


@router.get("/experiments/{experiment:number}", summary="Show an experiment", responses=failures(404))
def show_experiment(store: StoreDep, experiment: ExperimentId) -> ExperimentView:
    """Returns the spec, the state, the rounds and the number of trials in each state."""
    return store.experiment(experiment)


@router.delete(
    "/experiments/{experiment:number}",
    status_code=204,
    summary="Delete an experiment",
    responses=failures(404),
)
def delete_experiment(
    store: StoreDep, files: FilesDep, login: LoginDep, experiment: ExperimentId
) -> Response:
    """Deletes its trials, curves and logs for ever, and the files that no other experiment refers to. Workers
    drop its running trials.

    A file that another client has uploaded again stays for a day after that upload.
    """
    used = store.delete_experiment(experiment, None if login is None else login.token)
    store.drop(used, files.remove)
    return Response(status_code=204)


@router.post(
    "/experiments/{experiment:number}/stop", summary="Stop an experiment", responses=failures(404, 409)
)
def stop_experiment(store: StoreDep, experiment: ExperimentId) -> ExperimentView:
    """Hands out no more trials.
    Running trials end between two epochs and wait, with their checkpoints, for `resume`."""
    return store.stop(experiment)


@router.post(
    "/experiments/{experiment:number}/resume", summary="Resume an experiment", responses=failures(404, 409)
)
def resume_experiment(store: StoreDep, experiment: ExperimentId) -> ExperimentView:
    """Continues after a stop, and ends the pauses that began because a machine lacked something."""
    return store.resume(experiment)


@router.post(
    "/experiments/{experiment:number}/retry",
    summary="Retry failed or stopped trials",
    responses=failures(400, 404, 409, 413),
)
def retry_trials(
    store: StoreDep, experiment: ExperimentId, selection: Annotated[RetryTrials, Body()]
) -> Retried:
    """Queues failed trials again, each with its full number of attempts; earlier attempts stay on record.

    A stopped trial that you name continues from its last checkpoint if there is one, else from the start; no
    stopping rule ends it again. A finished experiment runs again.
    """
    return Retried(trials=tuple(store.retry(experiment, selection.trials)))


@router.post(
    "/experiments/{experiment:number}/keep",
    status_code=204,
    summary="Protect from retention",
    responses=failures(400, 404, 413),
)
def keep_experiment(store: StoreDep, experiment: ExperimentId, change: Annotated[Keep, Body()]) -> Response:
    """Retention then deletes nothing of the experiment, or of the named trials. Undo it with `{"keep": false}`."""
    store.keep(experiment, change.keep, change.trials)
    return Response(status_code=204)


@router.post(
    "/experiments/{experiment:number}/extend",
    summary="Extend an experiment",
    responses=failures(400, 404, 409, 413),
)
def extend_experiment(
    store: StoreDep, experiment: ExperimentId, change: Annotated[ExtendExperiment, Body()], key: Key = None
) -> ExperimentView:
    """More trials by round (a grid takes whole repetitions), tighter or looser budgets. An experiment that was done runs again; no trial is lost.

    The reference point stays the same, so that hypervolumes stay comparable.
    """
    rounds: dict[str, int] = {str(name): more for name, more in change.rounds.items()}
    check_spec(extended(store.valid_spec(experiment), rounds, change.budgets))
    return store.extend(experiment, rounds, change.budgets, key)


@router.post(
    "/experiments/{experiment:number}/mend",
    summary="Replace an invalid spec",
    openapi_extra=_BODY,
    responses=failures(400, 404, 409, 413),
)
async def mend_experiment(request: Request, store: StoreDep, experiment: ExperimentId) -> ExperimentView:
    """Replaces a stored spec that no longer validates (see `spec_error`), for example after an update of the
    server. The body is that of a new experiment. The trials stay. A failed experiment runs again. Answers 409
    when the stored spec is valid.
    """
    spec = await _spec(request)

    def mend() -> ExperimentView:
        _check(request, spec)
        return store.mend(experiment, spec)

    return await run_in_threadpool(mend)


@router.get("/experiments/{experiment:number}/events", summary="List events", responses=failures(404))
def list_events(
    store: StoreDep,
    experiment: ExperimentId,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Counter of the last known event.")] = 0,
    limit: Limit = 1000,
) -> list[Event]:
    """Lists the events with a counter above `after`, oldest first. Counters have no gaps; retention may have
    deleted the oldest events."""
    return store.events(experiment, after, limit)


@router.get(
    "/experiments/{experiment:number}/ax",
    summary="Export the experiment for Ax",
    tags=["results"],
    responses={
        200: {
            "content": {"application/json": {"schema": {"type": "object"}}},
            "description": "JSON in Ax's format.",
        },
        **failures(404),
    },
)
def export_ax(request: Request, experiment: ExperimentId) -> Response:
    """Returns JSON for `ax.api.client.Client.load_from_json_file`.
    A separate process creates it, which takes some seconds."""
    content: bytes = request.app.state.ax.export(experiment)
    headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-ax.json"'}
    return Response(content, media_type="application/json", headers=headers)
