"""`sparsemod export`: the files of trials, and their networks as C, ONNX and TensorFlow Lite."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    import_modules,
    require_folder,
)
from service.cli.folders import local_folder
from service.client.lookup import which

if TYPE_CHECKING:
    from service.client.client import Client
    from service.schemas.exports import ExportView
    from service.schemas.trials import ExperimentView
    from sparsemod.pipeline.local_run import LocalFolder
    from sparsemod.records import TrialRecord

LOOK_SECONDS = 0.5
"""Pause in seconds between two requests for the state of the server's exports."""


def export(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment, or the folder of a local run. Default: the newest experiment.",
            metavar="[EXPERIMENT]",
        ),
    ] = "",
    trial: Annotated[
        list[int] | None,
        typer.Argument(help="Export these trials. Default: all points of the Pareto front.", min=0),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Formats, separated by commas: c, onnx, tflite. Default: none; write only the stored files.",
        ),
    ] = "",
    out: Annotated[Path, typer.Option("--output", "--out", "-o", help="Folder to write to.")] = Path(
        "export"
    ),
    device: Annotated[
        str, typer.Option(help="Check the fit on this device. Default: the experiment's target.")
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            help="The model's name in files and C code. Default: the experiment's name and the trial's number. With several trials, each trial's number is appended."
        ),
    ] = "",
    remote: Annotated[
        bool,
        typer.Option("--remote", help="With --to: let the server write the formats, and download its files."),
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Write the files of trials: weights and integer networks. With --to: also checked C projects, ONNX and
    .tflite files, with a report card.

    Fails when a format cannot express a network, or when the network does not fit the device.
    """
    from service.schemas.exports import ExportState
    from sparsemod.errors import Conflict, InvalidInput, NotFound
    from sparsemod.export.names import checked_name

    import_modules(imports)
    formats = parse_formats(to)
    if name:
        checked_name(name, "--name")
    if remote and not formats:
        raise InvalidInput("--remote", "given", "only with --to FORMATS")
    local = local_folder(experiment)
    if local is not None:
        if remote:
            raise InvalidInput(
                "--remote", "given", f"only for an experiment on a server; {experiment} is a folder"
            )
        _export_folder(local, trial, formats, out, device, name)
        return
    client = connect(server)
    stored = which(client, experiment)
    indices = trial or [point.index for point in client.pareto(stored.id).points]
    if not indices:
        raise NotFound("Pareto point of experiment", stored.id)
    model_names = _model_names(stored.name, indices, name)
    failed = 0
    if remote:
        for index in indices:
            client.export(stored.id, index, formats, device or None, model_names[index])
    for index in indices:
        exports = _wait(client, stored.id, index, formats) if remote else []
        view = client.trial(stored.id, index)
        folder = require_folder(out / f"trial-{index}", "--output")
        (folder / "trial.json").write_text(view.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for artifact in view.artifacts:
            # An artifact's name comes from a client and must not become a path.
            client.download(artifact.digest, folder / Path(artifact.name).name)
        names = (
            ", ".join(artifact.name for artifact in view.artifacts) or "no files: its state is " + view.state
        )
        typer.echo(f"{folder}: {names}")
        for item in exports:
            for line in item.report.lines() if item.report else [f"{item.format}: {item.state}"]:
                typer.echo(f"  {line}")
            failed += item.state == ExportState.FAILED
        if formats and not remote:
            failed += _deliver(
                client.experiment(stored.id), view, folder, formats, device, model_names[index]
            )
    if failed:
        raise Conflict(f"{failed} of {len(indices) * len(formats)} exports failed; see the reasons above")


def _model_names(experiment: str, indices: list[int], name: str) -> dict[int, str]:
    """Return trial -> name of its model: `name` for a single trial, otherwise `name` with the trial's number."""
    from sparsemod.export.names import model_name

    if name and len(indices) == 1:
        return {indices[0]: name}
    return {index: model_name(name or experiment, index) for index in indices}


def _export_folder(
    local: "LocalFolder", trial: list[int] | None, formats: tuple[str, ...], out: Path, device: str, name: str
) -> None:
    """Export the trials of a local run."""
    import shutil

    from sparsemod.errors import Conflict, NotFound

    indices = trial or local.front()
    if not indices:
        raise NotFound("Pareto point of the run in", str(local.folder))
    model_names = _model_names(local.spec.name, indices, name)
    failed = 0
    for view in [local.trial(index) for index in indices]:
        folder = require_folder(out / f"trial-{view.index}", "--output")
        (folder / "trial.json").write_text(view.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for artifact in view.artifacts:
            shutil.copyfile(local.artifact(artifact.digest), folder / Path(artifact.name).name)
        names = ", ".join(artifact.name for artifact in view.artifacts)
        typer.echo(f"{folder}: {names or f'no files: its state is {view.state}'}")
        if formats:
            failed += _deliver(local, view, folder, formats, device, model_names[view.index])
    if failed:
        raise Conflict(f"{failed} of {len(indices) * len(formats)} exports failed; see the reasons above")


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the format names in a text such as `"c,onnx"`, each once. Raises UnknownName."""
    from sparsemod.export import EXPORTERS

    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        EXPORTERS.get(name, field="--to")
    return names


def _wait(client: "Client", experiment: int, index: int, formats: tuple[str, ...]) -> list["ExportView"]:
    """Wait until the server's exports of a trial in these formats end; return them."""
    from service.schemas.exports import ExportState

    while True:
        views = [view for view in client.exports(experiment, index) if view.format in formats]
        if not any(view.state in (ExportState.QUEUED, ExportState.RUNNING) for view in views):
            return views
        time.sleep(LOOK_SECONDS)


def _deliver(
    experiment: "ExperimentView | LocalFolder",
    trial: "TrialRecord",
    folder: Path,
    formats: tuple[str, ...],
    device: str,
    name: str,
) -> int:
    """Write the formats of one trial into its folder; return the number of failed ones."""
    from sparsemod.errors import Conflict

    network = trial.artifact("network")
    if network is None:
        raise Conflict(f"trial {trial.index} has no network to export: its state is {trial.state}")
    from sparsemod.delivery.deliver import CARD, PAGE, Subject, deliver

    spec = experiment.spec
    content = (folder / Path(network.name).name).read_bytes()
    subject = Subject.of(
        spec, content, f"{spec.name}, trial {trial.index}",
        parameters=trial.candidate.parameters, measurements=trial.measurements,
    )  # fmt: skip
    if subject.note:
        typer.echo(subject.note, err=True)
    delivered = deliver(subject, folder, formats, target=device or spec.target.device, name=name)
    for report in delivered.reports:
        for line in report.lines():
            typer.echo(f"  {line}")
    typer.echo(f"  {CARD}, {PAGE}: the report card")
    return len(delivered.failed)


COMMANDS = {"export": export}
