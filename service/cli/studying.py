"""`sparsemod study`: compression studies from a file, on this machine, in a common folder, or on the server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    console,
    counted,
    import_modules,
)
from service.cli.local import TensorBoardOption, follow, one_thread

if TYPE_CHECKING:
    from sparsemod.studies.shared import Planned
    from sparsemod.studies.study_file import Study


def study(
    file: Annotated[Path, typer.Argument(help="Study file, in YAML.", metavar="FILE")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of results. Default: runs/NAME. An interrupted study in it continues."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-j", help="Number of processes that share the folder.", min=1)
    ] = 1,
    process: Annotated[
        int | None, typer.Option("--process", "-i", help="Which of them this is, from 0.", min=0)
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Start the study on the server instead of here.")
    ] = False,
    convert: Annotated[
        Path | None,
        typer.Option(
            "--convert",
            help="Write torchprune's FILE as a study file, say what has no meaning here, and end.",
        ),
    ] = None,
    tensorboard: TensorBoardOption = False,
    device: Annotated[str, typer.Option(help="torch device for training: cpu, cuda, cuda:1.")] = "cpu",
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Train networks; prune and retrain them by several methods and ratios; report what each method reaches.

    With customizations in the file, there is one study for each, in folders below --out.
    """
    from sparsemod.errors import InvalidInput

    import_modules(imports)
    if convert is not None:
        _convert(file, convert)
        return
    if processes > 1 and process is None:
        raise InvalidInput("-i", None, f"0 to {processes - 1}: which of the {processes} processes this is")
    studies = _read(file, anywhere=submit)
    if submit:
        client = connect(server)
        for one in studies:
            experiment = client.create_experiment(one.spec)
            trials = counted(sum(part.trials for part in experiment.rounds.values()), "trial")
            typer.echo(f"experiment {experiment.id} ({experiment.name}) started at {server}: {trials}")
        return
    root = out or Path("runs") / (studies[0].spec.name if len(studies) == 1 else file.stem).replace(" ", "-")
    one_thread()
    for one in studies:
        folder = root if len(studies) == 1 else root / one.spec.name.replace(" ", "-")
        _run(one, folder, processes, process, device, tensorboard)


def _read(file: Path, *, anywhere: bool) -> "list[Study]":
    from sparsemod.errors import InvalidSpec
    from sparsemod.plugins import Names
    from sparsemod.spec.plain import read_text
    from sparsemod.studies.study_file import read_study
    from sparsemod.studies.torchprune_file import is_torchprune
    from sparsemod.yaml_text import parse_yaml

    if file.suffix.lower() in (".yaml", ".yml") and is_torchprune(parse_yaml(read_text(file), str(file))[0]):
        allowed = (
            f"a study file; this is one of torchprune's: `sparsemod study {file} --convert FILE` converts it"
        )
        raise InvalidSpec("file", str(file), allowed)
    return read_study(file, Names.ANY if anywhere else Names.IMPORTED)


def _convert(file: Path, target: Path) -> None:
    from sparsemod.errors import InvalidInput
    from sparsemod.files import write_atomically
    from sparsemod.studies.torchprune_file import convert
    from sparsemod.yaml_text import dump_yaml

    if target.exists():
        raise InvalidInput("--convert", str(target), "a file that does not exist yet")
    converted = convert(file)
    for note in converted.notes:
        typer.echo(note)
    write_atomically(target, dump_yaml(converted.data).encode())
    typer.echo(f"study file: {target}")


def _run(
    one: "Study", folder: Path, processes: int, process: int | None, device: str, tensorboard: bool
) -> None:
    from sparsemod.errors import InvalidInput, InvalidSpec
    from sparsemod.pipeline.local_run import LocalRun
    from sparsemod.report.prunability_page import write_prunability
    from sparsemod.studies.shared import SharedRun
    from sparsemod.studies.study_file import key_of
    from sparsemod.training.process import require_device

    with console(stderr=True).status("loading torch and the data"):
        torch_device = require_device(device, "--device")
        try:
            if process is None:
                local = LocalRun(one.spec, folder, device=torch_device)
            else:
                local = SharedRun(one.spec, folder, processes, process, device=torch_device)
                local.on_wait = _waiting
        except InvalidSpec as error:
            raise InvalidSpec(key_of(error.field), error.value, error.allowed, error.source) from error
    follow(local, False, tensorboard=tensorboard)
    rows = [trial.record for trial in local.trials]
    planned = sum(part.trials for part in one.spec.source.plan())
    if len(rows) < planned:
        return
    try:
        written = write_prunability(folder, one.spec.name, rows, shares=one.plotting)
    except InvalidInput:  # no reference network completed; the run has said why
        return
    typer.echo(f"report: {written['prunability.html']}")


def _waiting(planned: "Planned") -> None:
    typer.echo(f"waiting for trial {planned.index}, which process {planned.owner} trains", err=True)


COMMANDS = {"study": study}
