"""`sparsemod compress`: prune a finished trial or a trained model from a file by several methods, and compare them on the device."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    console,
    import_modules,
    metric_text,
    require_folder,
)
from service.cli.folders import local_folder
from service.cli.local import follow, one_thread
from service.cli.model_search import model_search
from service.client.lookup import which

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalRun
    from sparsemod.records import TrialRecord
    from sparsemod.spec.experiment import ExperimentSpec


def compress(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment on the server, or the folder of a local run; or a model: a file .onnx, .tflite or .pt2, or MODULE:ATTRIBUTE.",
            metavar="NETWORK",
        ),
    ],
    trial: Annotated[
        int | None, typer.Argument(help="The trial of the experiment whose network to compress.", min=0)
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods", help="Pruning methods, separated by commas; torchprune's names are allowed."
        ),
    ] = "magnitude,filters,alds",
    sparsity: Annotated[
        str,
        typer.Option(
            "--sparsity",
            help="Of a trial: shares of the weights to remove, separated by commas. Default: 0.5,0.75,0.9.",
        ),
    ] = "",
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs after each pruning. Default: the trial's; 5 for a model.", min=1),
    ] = None,
    repetitions: Annotated[
        int, typer.Option(help="Of a trial: trainings of each, with different seeds.", min=1)
    ] = 1,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade", help="Of a trial: prune each network further, instead of the trial's again."
        ),
    ] = False,
    schedule: Annotated[
        str,
        typer.Option(
            help="Of a trial: pruning schedule by name. Default: everything before the first epoch."
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Of a model: samples as it reads them and their labels, .npz with x and y."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help='Of a model: a limit such as "flash <= 64 KB"; repeatable.'),
    ] = None,
    trials: Annotated[int, typer.Option(help="Of a model: number of networks to train.", min=2)] = 20,
    target: Annotated[str, typer.Option(help="Of a model: the device to measure on.")] = "stm32f446",
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Of a model: upload it and let the server run the search."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of results. Default: runs/NAME. An interrupted run continues."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="torch device for training: cpu, cuda, cuda:1.")] = "cpu",
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Prune a trained network by several methods and ratios; train, quantize and measure each result.

    Of a finished trial: a study that compares the methods at given ratios. Of a model from a file: a search for the
    smallest error within the budgets, where every network starts from the model's weights.

    The results are a local run: `sparsemod run FOLDER` continues it, `sparsemod export FOLDER` writes its
    networks.
    """
    import_modules(imports)
    of_trial = {
        "--sparsity": sparsity, "--cascade": cascade, "--schedule": schedule, "--repetitions": repetitions > 1
    }  # fmt: skip
    of_model = {"--data": data, "--budget": budget, "--submit": submit}
    if trial is None:
        check_options(of_trial, "a trial of an experiment: EXPERIMENT TRIAL")
        model_search(
            experiment, data, budget or [], methods=_names(methods), trials=trials, epochs=epochs or 5, target=target,
            out=out, device=device, server=server if submit else None,
        )  # fmt: skip
        return
    check_options(of_model, "a model: a file, or MODULE:ATTRIBUTE")
    spec, view, files = _trial(experiment, trial, server)
    with console(stderr=True).status("loading torch and the data"):
        one_thread()
        from sparsemod.pipeline.compression import adopt_reference, compression_spec
        from sparsemod.pipeline.local_run import LocalRun
        from sparsemod.training.process import require_device

        study = compression_spec(
            spec, view, _names(methods), _numbers(sparsity or "0.5,0.75,0.9"), epochs=epochs, repetitions=repetitions,
            mode="cascade" if cascade else "retrain", schedule=schedule or None,
        )  # fmt: skip
        folder = out or Path("runs") / study.name.replace(" ", "-")
        local = LocalRun(study, folder, device=require_device(device, "--device"))
        adopt_reference(local, view, files)
    follow(local, False)
    _table(local)
    from sparsemod.report.prunability_page import write_prunability

    written = write_prunability(folder, study.name, [trial.record for trial in local.trials])
    typer.echo(f"report: {written['prunability.html']}")


def check_options(given: "Mapping[str, object]", only: str) -> None:
    """Raise InvalidInput for an option that has no effect here; it is for `only`."""
    from sparsemod.errors import InvalidInput

    for name, value in given.items():
        if value:
            raise InvalidInput(name, value if value is not True else "given", f"only for {only}")


def _trial(
    experiment: str, trial: int, server: str
) -> "tuple[ExperimentSpec, TrialRecord, dict[str, bytes]]":
    """Return the trial's spec, its record and the content of the artifacts that a study keeps, by digest."""
    import tempfile

    from sparsemod.pipeline.compression import KINDS

    folder = local_folder(experiment)
    if folder is not None:
        view = folder.trial(trial)
        paths = {a.digest: folder.artifact(a.digest) for a in view.artifacts if a.kind in KINDS}
        return (
            folder.spec,
            view,
            {digest: path.read_bytes() for digest, path in paths.items() if path.is_file()},
        )
    client = connect(server)
    stored = client.experiment(which(client, experiment).id)
    view = client.trial(stored.id, trial)
    files = {}
    with tempfile.TemporaryDirectory() as place:
        for number, artifact in enumerate(a for a in view.artifacts if a.kind in KINDS):
            files[artifact.digest] = client.download(artifact.digest, Path(place) / str(number)).read_bytes()
    return stored.spec, view, files


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    from sparsemod.errors import InvalidInput

    try:
        return [float(word) for word in _names(text)]
    except ValueError:
        raise InvalidInput("--sparsity", text, "numbers separated by commas, such as 0.5,0.75") from None


def _table(local: "LocalRun") -> None:
    """Print each network: what was removed, error, and the costs on the device."""
    from rich import box
    from rich.table import Table

    metrics = ("error", "flash", "ram", "instructions", "nonzeros")
    found = [trial.result.values() for trial in local.trials]
    shown = [name for name in metrics if any(name in values for values in found)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", justify="right")
    table.add_column("method")
    table.add_column("sparsity", justify="right")
    for name in shown:
        table.add_column(name, justify="right")
    for trial, values in zip(local.trials, found, strict=True):
        parameters = trial.candidate.parameters
        texts = [
            metric_text(name, values[name]) if name in values else str(trial.result.state) for name in shown
        ]
        table.add_row(
            str(trial.index), str(parameters["pruning_method"]), f"{parameters['sparsity']:g}", *texts
        )
    console().print(table)


def prunability(
    experiment: Annotated[
        str, typer.Argument(help="Id or name of a study on the server, or the folder of a local run of one.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to. Default: the run's folder, or study-ID."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write a study's report: for each method, the smallest network within 13 levels of error.

    Also the curves of error against weights, flash, RAM and instructions, as HTML, PDF, SVG, CSV and npz.
    """
    from sparsemod.report.prunability_page import write_prunability

    folder = local_folder(experiment)
    rows: list[TrialRecord]
    if folder is not None:
        name, rows, default = folder.spec.name, [trial.record for trial in folder.trials], folder.folder
    else:
        client = connect(server)
        stored = client.experiment(which(client, experiment).id)
        name, rows, default = stored.spec.name, list(client.trials(stored.id)), Path(f"study-{stored.id}")
    for path in write_prunability(require_folder(out or default, "--out"), name, rows).values():
        typer.echo(str(path))


COMMANDS = {"compress": compress, "prunability": prunability}
