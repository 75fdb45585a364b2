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
    which,
)
from service.cli.folders import local_folder

if TYPE_CHECKING:
    from service.client.client import Client
    from service.schemas.exports import ExportView
    from service.schemas.trials import ExperimentView, TrialView
    from sparsemod.export import ExportReport
    from sparsemod.pipeline.local_run import Finished, LocalFolder

LOOK_SECONDS = 0.5
"""Pause between two looks at what the server makes."""


def export(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment, or the folder of a local run; the newest experiment when left out.",
            metavar="[EXPERIMENT]",
        ),
    ] = "",
    trial: Annotated[
        list[int] | None, typer.Argument(help="These trials. Default: all points of the Pareto front.", min=0)
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Formats, separated by commas: c, onnx, tflite. Default: none, only what is stored."
        ),
    ] = "",
    out: Annotated[Path, typer.Option("--output", "--out", "-o", help="Folder to write to.")] = Path(
        "export"
    ),
    device: Annotated[
        str, typer.Option(help="Check the fit on this device. Default: the target of the experiment.")
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            help="What the model is called in files and C code. Default: the experiment's name and the trial's number. Of several trials each number is added."
        ),
    ] = "",
    remote: Annotated[
        bool,
        typer.Option("--remote", help="With --to: let the server make the formats, and fetch its files."),
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Write the files of trials: weights and integer networks; with --to, C projects, ONNX and .tflite files, checked, with a report card.

    Fails when a format cannot express a network, or the network does not fit the device.
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
    held = local_folder(experiment)
    if held is not None:
        if remote:
            raise InvalidInput(
                "--remote", "given", f"only for an experiment of a server; {experiment} is a folder"
            )
        _export_folder(held, trial, formats, out, device, name)
        return
    client = connect(server)
    found = which(client, experiment)
    indices = trial or [point.index for point in client.pareto(found.id).points]
    if not indices:
        raise NotFound("Pareto point of experiment", found.id)
    called = _model_names(found.spec.name, indices, name)
    failed = 0
    if remote:
        for index in indices:
            client.export(found.id, index, formats, device or None, called[index])
    for index in indices:
        done = _wait(client, found.id, index, formats) if remote else []
        view = client.trial(found.id, index)
        folder = require_folder(out / f"trial-{index}", "--output")
        (folder / "trial.json").write_text(view.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for artifact in view.artifacts:
            # Names of artifacts come from elsewhere and must not become paths.
            client.download(artifact.digest, folder / Path(artifact.name).name)
        names = (
            ", ".join(artifact.name for artifact in view.artifacts) or "no files: its state is " + view.state
        )
        typer.echo(f"{folder}: {names}")
        for item in done:
            for line in report_lines(item.report) if item.report else [f"{item.format}: {item.state}"]:
                typer.echo(f"  {line}")
            failed += item.state == ExportState.FAILED
        if formats and not remote:
            failed += _deliver(client.experiment(found.id), view, folder, formats, device, called[index])
    if failed:
        raise Conflict(f"{failed} of {len(indices) * len(formats)} exports failed; the lines above say why")


def _model_names(experiment: str, indices: list[int], name: str) -> dict[int, str]:
    """Trial -> what its model is called: `name` itself for a single trial, else with the trial's number."""
    from sparsemod.export.names import model_name

    if name and len(indices) == 1:
        return {indices[0]: name}
    return {index: model_name(name or experiment, index) for index in indices}


def _export_folder(
    held: "LocalFolder", trial: list[int] | None, formats: tuple[str, ...], out: Path, device: str, name: str
) -> None:
    """The same for the trials of a local run."""
    import shutil

    from sparsemod.errors import Conflict, NotFound

    indices = trial or held.front()
    if not indices:
        raise NotFound("Pareto point of the run in", str(held.folder))
    called = _model_names(held.spec.name, indices, name)
    failed = 0
    for view in [held.trial(index) for index in indices]:
        folder = require_folder(out / f"trial-{view.index}", "--output")
        (folder / "trial.json").write_text(view.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for artifact in view.artifacts:
            shutil.copyfile(held.artifact(artifact.digest), folder / Path(artifact.name).name)
        names = ", ".join(artifact.name for artifact in view.artifacts)
        typer.echo(f"{folder}: {names or f'no files: its state is {view.state}'}")
        if formats:
            failed += _deliver(held, view, folder, formats, device, called[view.index])
    if failed:
        raise Conflict(f"{failed} of {len(indices) * len(formats)} exports failed; the lines above say why")


def parse_formats(text: str) -> tuple[str, ...]:
    """`"c,onnx"` as names of formats, each once. Raises UnknownName."""
    from sparsemod.export import EXPORTERS

    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        EXPORTERS.get(name, field="--to")
    return names


def _wait(client: "Client", experiment: int, index: int, formats: tuple[str, ...]) -> list["ExportView"]:
    """The server's exports of a trial in these formats, once they are over."""
    from service.schemas.exports import ExportState

    while True:
        found = [view for view in client.exports(experiment, index) if view.format in formats]
        if not any(view.state in (ExportState.QUEUED, ExportState.RUNNING) for view in found):
            return found
        time.sleep(LOOK_SECONDS)


def _deliver(
    experiment: "ExperimentView | LocalFolder",
    view: "TrialView | Finished",
    folder: Path,
    formats: tuple[str, ...],
    device: str,
    name: str,
) -> int:
    """Write the formats of one trial into its folder; how many failed."""
    from sparsemod.errors import Conflict

    networks = [artifact for artifact in view.artifacts if artifact.kind == "network"]
    if not networks:
        raise Conflict(f"trial {view.index} has no network to export: its state is {view.state}")
    from sparsemod.delivery.deliver import CARD, PAGE, Subject, deliver

    spec = experiment.spec
    content = (folder / Path(networks[0].name).name).read_bytes()
    subject = Subject.of(
        spec, content, f"{spec.name}, trial {view.index}",
        parameters=view.candidate.parameters, measurements=view.measurements,
    )  # fmt: skip
    if subject.note:
        typer.echo(subject.note, err=True)
    done = deliver(subject, folder, formats, target=device or spec.target.device, name=name)
    for report in done.reports:
        for line in report_lines(report):
            typer.echo(f"  {line}")
    typer.echo(f"  {CARD}, {PAGE}: the report card")
    return len(done.failed)


def report_lines(report: "ExportReport") -> list[str]:
    """What became of one format, in a line per check."""
    if report.failure is not None:
        return [f"{report.format}: failed: {report.failure}"]
    lines = []
    for check in report.verifications:
        far = "equal in every byte" if check.exact else f"{check.largest_difference} quanta off at most"
        share = (
            f"on {check.samples} samples"
            if check.agreement is None
            else f"same class for {100 * check.agreement:.2f} % of {check.samples} samples"
        )
        error = "" if check.error is None else f", error {100 * check.error:.2f} %"
        lines.append(f"{report.format}: {far}, {share}{error} ({check.runtime})")
    lines += [f"{report.format}: not checked: {words}" for words in report.missing]
    return lines or [f"{report.format}: written"]


COMMANDS = {"export": export}
