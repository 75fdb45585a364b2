"""The search of `sparsemod compress MODEL`: on this machine, or on a server that gets the model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from service.cli.common import connect, console, metric_text
from service.cli.local import follow, one_thread
from service.cli.measuring import is_attribute, read

LOOK_SECONDS = 0.5
"""Pause in seconds between two requests for the state of an uploaded model."""


def model_search(
    model: str,
    data: Path | None,
    budgets: Sequence[str],
    *,
    methods: Sequence[str],
    trials: int,
    epochs: int,
    target: str,
    out: Path | None,
    device: str,
    server: str | None,
) -> None:
    """Search for pruned networks within the budgets that start from a model's weights.

    `server`: its address, None to run here. Raises InvalidInput without data, NotFound for a file that does not exist.
    """
    from sparsemod.errors import InvalidInput, NotFound
    from sparsemod.export.names import model_name

    if not is_attribute(model) and not Path(model).is_file():
        raise NotFound("model file", model, "this folder; a trial is named as EXPERIMENT TRIAL")
    if data is None:
        raise InvalidInput("--data", None, "samples with labels, .npz with x and y: training needs them")
    if server is not None:
        _submitted(
            server,
            model,
            data,
            target,
            {"methods": list(methods), "budgets": list(budgets), "trials": trials, "epochs": epochs},
        )
        return
    with console(stderr=True).status("reading the model"):
        one_thread()
        from sparsemod.pipeline.local_run import LocalRun
        from sparsemod.pipeline.model_data import dataset_of
        from sparsemod.pipeline.model_report import integer_network, report_on
        from sparsemod.pipeline.model_search import search_spec
        from sparsemod.pipeline.model_store import store_module
        from sparsemod.training.process import require_device

        _, found, samples = read(model, "", data)
        if found.module is None:
            raise InvalidInput(
                "model", model, "a float model: an int8 model cannot be trained on, only measured"
            )
        network, notes = integer_network(found, samples)
        reference = report_on(found, network, target, samples=samples, notes=notes)
        name = f"{found.name} compressed"
        folder = out or Path("runs") / name.replace(" ", "-")
        path = store_module(found, folder) if is_attribute(model) else Path(model)
        spec = search_spec(
            str(path.resolve()), dataset_of(data, found.shape), methods, budgets, trials=trials, epochs=epochs,
            target=target, name=name,
        )  # fmt: skip
        local = LocalRun(spec, folder, device=require_device(device, "--device"))
    costs = {m.metric: m.value for m in reference.measurements}
    words = "  ".join(
        f"{metric} {metric_text(metric, costs[metric])}" for metric in ("flash", "ram", "latency")
    )
    error = "" if reference.error is None else f"error {metric_text('error', reference.error)}  "
    typer.echo(f"{model_name(found.name)} as it is: {error}{words}")
    (folder / "reference.json").write_text(reference.model_dump_json(indent=1) + "\n", encoding="utf-8")
    follow(local, False)


def _submitted(server: str, model: str, data: Path, target: str, settings: dict[str, Any]) -> None:
    """Upload the model, wait until the server has measured it, and start the search there."""
    from service.schemas.models import ModelState
    from sparsemod.errors import Conflict, InvalidInput
    from sparsemod.importing.readers.exported_archive import without_examples
    from sparsemod.pipeline.model_data import dataset_of

    if is_attribute(model):
        raise InvalidInput("--submit", model, "a model file: the server gets no Python code")
    path = Path(model)
    content = path.read_bytes()
    if path.suffix.lower() == ".pt2":
        content = without_examples(content)
    client = connect(server)
    with console(stderr=True).status("the server measures the model"):
        view = client.upload_model(path.name, content, target)
        while view.state in (ModelState.QUEUED, ModelState.RUNNING):
            time.sleep(LOOK_SECONDS)
            view = client.model(view.id)
    if view.report is None:
        raise Conflict(f"the server cannot read {path.name}: {view.failure}")
    experiment = client.start_from_model(
        view.id, {"dataset": dataset_of(data, view.report.shape), **settings}
    )
    typer.echo(f"model {view.id}, experiment {experiment.id}: sparsemod watch {experiment.id}")
