"""Uploaded models: a trained network from a file, its costs, and a search that starts from it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.files.upload_checks import NAME
from service.http.limits import MODEL_BYTES
from service.http.routes.common import FilesDep, Key, Limit, LoginDep, Offset, StoreDep, failures
from service.http.spec_checks import check_places, check_spec
from service.jobs.models import ModelJobs
from service.schemas.models import ModelState, ModelView, StartFromModel
from service.schemas.trials import ExperimentView
from sparsemod.errors import Conflict, InvalidInput
from sparsemod.pipeline.model_search import search_spec
from sparsemod.targets import device as known_device

router = APIRouter(tags=["models"])

SUFFIXES = (".onnx", ".tflite", ".pt2")
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

ModelId = Annotated[int, Path(ge=1, lt=10**15, description="Number of the model.", examples=[1])]
FileName = Annotated[
    str,
    Query(
        pattern=f"^{NAME}$",
        description="Name of the file; its suffix names the format.",
        examples=["digits.onnx"],
    ),
]


@router.post(
    "/models",
    status_code=202,
    summary="Upload a model",
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
    responses=failures(404, 409, 413),
)
async def upload_model(
    request: Request,
    store: StoreDep,
    files: FilesDep,
    login: LoginDep,
    name: FileName,
    device: Annotated[str, Query(max_length=100, description="The device to measure for.")] = "stm32f446",
) -> ModelView:
    """Stores a trained model, float or int8, and queues it to be measured. Poll it until it is `done` or `failed`.

    A separate process with limits of time and memory reads the file; nothing in it is run or unpickled. The same upload
    again returns the same model.
    """
    known_device(device, field="device")
    if not name.lower().endswith(SUFFIXES):
        raise InvalidInput("name", name, f"a file name that ends in {', '.join(SUFFIXES)}")
    content = bytes(await request.body())
    if not content:
        raise InvalidInput("body", "nothing", f"the file, at most {MODEL_BYTES} bytes")
    owner = None if login is None else login.owner

    def stored() -> ModelView:
        info = files.add(content, store)
        return store.add_model(name, info.digest, info.size, device, owner)

    view = await request.app.state.transfers.run(stored)
    jobs: ModelJobs = request.app.state.models
    jobs.wake()
    made: ModelView = view
    return made


@router.get("/models", summary="List the models", responses=failures())
def list_models(store: StoreDep, limit: Limit = 100, offset: Offset = 0) -> list[ModelView]:
    """Lists uploaded models, the newest first."""
    return store.models(limit, offset)


@router.get("/models/{model:number}", summary="Show a model", responses=failures(404))
def show_model(store: StoreDep, model: ModelId) -> ModelView:
    """Returns a model with its costs layer by layer and the devices that it fits, once it is measured."""
    return store.model(model)


@router.delete(
    "/models/{model:number}",
    status_code=204,
    summary="Delete a model",
    response_class=Response,
    responses=failures(404, 409),
)
def delete_model(store: StoreDep, files: FilesDep, model: ModelId) -> Response:
    """Deletes a model and its file. Refused while an experiment starts from it."""
    store.drop([store.delete_model(model)], files.remove)
    return Response(status_code=204)


@router.post(
    "/models/{model:number}/experiments",
    status_code=201,
    summary="Start a search from a model",
    responses=failures(400, 404, 409, 413),
)
async def start_from_model(
    request: Request, store: StoreDep, login: LoginDep, model: ModelId, body: StartFromModel, key: Key = None
) -> ExperimentView:
    """Creates an experiment: every candidate starts from the model's weights, is pruned, trained on and measured."""
    owner = None if login is None else login.owner

    def created() -> ExperimentView:
        view = store.model(model)
        if view.state is not ModelState.DONE or view.report is None:
            raise Conflict(f"model {model} is {view.state.value}: only a measured model can be searched from")
        if not view.report.trainable:
            raise Conflict(f"model {model} is an int8 model: training needs the float model")
        name = view.name.rpartition(".")[0]
        spec = search_spec(
            view.digest, body.dataset, body.methods, body.budgets, file_name=view.name, trials=body.trials,
            epochs=body.epochs, target=view.device, name=body.name or f"{name} compressed",
        )  # fmt: skip
        check_places(spec, request.app.state.settings.dataset_dirs)
        check_spec(spec)
        return store.create_experiment(spec, key, owner)

    return await run_in_threadpool(created)
