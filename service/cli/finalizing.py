"""`sparsemod finalize`: the front over several seeds, and its error on the test split."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    console,
    counted,
    import_modules,
    metric_text,
    require_folder,
)
from service.cli.folders import local_folder
from service.cli.results import fetch_trials
from service.cli.testing import RetrainOption
from service.client.lookup import which

if TYPE_CHECKING:
    from sparsemod.objectives import Objectives
    from sparsemod.pipeline.local_run import LocalFolder
    from sparsemod.records import TrialRecord
    from sparsemod.report.membership import FrontMember
    from sparsemod.spec.experiment import ExperimentSpec

LOOK_SECONDS = 1.0
"""Pause in seconds between two requests for the experiment's state."""

LIKELY = 0.5
"""Smallest probability of being on the front of a network that is tested."""


def finalize(
    experiment: Annotated[
        str, typer.Argument(help="Id or name of an experiment on the server, or the folder of a local run.")
    ],
    trials: Annotated[
        int,
        typer.Option(
            help="Largest number of repetitions to add; 0: show the front over seeds as it is.", min=0
        ),
    ] = 20,
    test: Annotated[
        bool,
        typer.Option(
            "--test",
            help="Retrain the networks that are likely on the front; report their error on the test split.",
        ),
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(help="With --test: epochs. Default: four times the trial's.", min=1)
    ] = None,
    seeds: Annotated[int, typer.Option(help="With --test: trainings of each network.", min=1)] = 3,
    retrain: RetrainOption = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write front.json, front.png and front.svg to this folder."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Annotated[str, typer.Option(help="torch device for training here: cpu, cuda, cuda:1.")] = "cpu",
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Settle the front over seeds: train candidates near it again until it is clear which of them belong to it.

    A front of single trainings prefers lucky ones. The table shows the mean error over the trainings, its standard
    error, and the probability that the candidate is on the front. An experiment on a server continues there, and the
    command waits for it. Use --test once, when nothing depends on the result any more.
    """
    from sparsemod.errors import InvalidInput, NotFound
    from sparsemod.report.membership import front_members

    import_modules(imports)
    if not test and epochs is not None:
        raise InvalidInput("--epochs", epochs, "only with --test")
    if not test and retrain:
        raise InvalidInput("--retrain", retrain, "only with --test")
    folder = local_folder(experiment)
    if folder is not None:
        spec, objectives, rows = _repeat_here(folder, trials, device)
    else:
        spec, objectives, rows = _repeat_there(experiment, trials, server)
    members = front_members(objectives, rows)
    if not members:
        raise NotFound("completed trial within the budgets of", spec.name)
    by_index = {row.index: row for row in rows}
    tested: list[dict[str, Any] | None] = [None] * len(members)
    if test:
        from service.cli.local import one_thread
        from sparsemod.training.process import require_device

        one_thread()
        torch_device = require_device(device, "--device")
        for place, member in enumerate(members):
            if member.probability >= LIKELY:
                first = by_index[member.trials[0]]
                longer, local = epochs or 4 * first.epochs, folder is not None
                tested[place] = _tested(
                    spec, first, longer, seeds, torch_device, imports=local, retrain=retrain
                )
    document = {
        "experiment": experiment,
        "front": [{**asdict(member), "test": result} for member, result in zip(members, tested, strict=True)],
    }
    if json_output:
        typer.echo(json.dumps(document, indent=1))
    else:
        console().print(_table(objectives, members, tested))
    if out is not None:
        _write(require_folder(out, "--out"), spec.name, objectives, members, document)


def _repeat_here(
    folder: "LocalFolder", trials: int, device: str
) -> "tuple[ExperimentSpec, Objectives, list[TrialRecord]]":
    """Run up to `trials` repetitions of a local run in this process; return its spec, objectives and trials."""
    from service.cli.local import follow, one_thread
    from sparsemod.training.process import require_device

    if trials:
        one_thread()
        from sparsemod.pipeline.local_run import LocalFolder, LocalRun

        spec = folder.extend({"repeats": trials})
        follow(LocalRun(spec, folder.folder, device=require_device(device, "--device")), debug=False)
        folder = LocalFolder(folder.folder)
    return folder.spec, folder.spec.objectives_in_force(), [trial.record for trial in folder.trials]


def _repeat_there(
    experiment: str, trials: int, server: str
) -> "tuple[ExperimentSpec, Objectives, list[TrialRecord]]":
    """Let the server's workers run up to `trials` repetitions, and wait for them; return spec, objectives and trials."""
    from service.schemas.trials import ExperimentState
    from sparsemod.errors import Conflict
    from sparsemod.objectives import Objectives

    client = connect(server)
    identity = which(client, experiment).id
    if trials:
        view = client.extend(identity, rounds={"repeats": trials}, budgets=None)
        with console(stderr=True).status("waiting for the workers") as status:
            while view.state not in (ExperimentState.DONE, ExperimentState.FAILED, ExperimentState.STOPPED):
                time.sleep(LOOK_SECONDS)
                view = client.experiment(identity)
                if "repeats" in view.rounds:
                    status.update(
                        f"waiting for the workers: {counted(view.rounds['repeats'].done, 'repetition')}"
                    )
        if view.state is not ExperimentState.DONE:
            raise Conflict(f"experiment {identity} is {view.state}: {view.reason or 'no reason is known'}")
    view = client.experiment(identity)
    rows, _ = fetch_trials(client, identity, 0, {"state": "completed"})
    return view.spec, Objectives(view.objectives, view.reference_point, view.budgets, view.scales), list(rows)


def _tested(
    spec: "ExperimentSpec",
    trial: "TrialRecord",
    epochs: int,
    seeds: int,
    device: str,
    *,
    imports: bool,
    retrain: bool,
) -> dict[str, Any]:
    """Return the test errors of a network over `seeds` trainings, with mean and standard error."""
    from service.cli.testing import summarize, test_once

    results = [
        test_once(spec, trial, epochs, number, device, imports=imports, retrain=retrain)
        for number in range(seeds)
    ]
    return {"epochs": epochs, "retrain": retrain, "seeds": results, **summarize(results)}


def _table(
    objectives: "Objectives", members: "list[FrontMember]", tested: list[dict[str, Any] | None]
) -> Any:
    from rich import box
    from rich.table import Table

    from sparsemod.report.combinations import varied
    from sparsemod.report.membership import noisy
    from sparsemod.units import METRICS

    metric = noisy(objectives)
    differing = varied([member.parameters for member in members])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("trial", "trainings", "on the front"):
        table.add_column(title, justify="right")
    shown = list(dict.fromkeys((*objectives.names, *([metric] if metric in members[0].metrics else ()))))
    for name in shown:
        table.add_column(METRICS[name].title, justify="right")
    if any(tested):
        table.add_column(f"test {METRICS[metric].title}", justify="right")
    for name in differing:
        table.add_column(name, justify="right")
    for member, result in zip(members, tested, strict=True):
        cells = [str(member.trials[0]), str(len(member.trials)), f"{100 * member.probability:.0f} %"]
        for name in shown:
            text = metric_text(name, member.metrics[name])
            if name == metric and member.standard_error is not None:
                text += f" ± {metric_text(name, member.standard_error)}"
            cells.append(text)
        if any(tested):
            cells.append("" if result is None else _with_error(metric, result))
        cells += [str(member.parameters.get(name, "-")) for name in differing]
        table.add_row(*cells)
    return table


def _with_error(metric: str, result: dict[str, Any]) -> str:
    text = metric_text(metric, result["mean"])
    error = result["standard_error"]
    return text if error is None else f"{text} ± {metric_text(metric, error)}"


def _write(
    folder: Path, name: str, objectives: "Objectives", members: "list[FrontMember]", document: dict[str, Any]
) -> None:
    from sparsemod.files import write_atomically
    from sparsemod.report.membership_plot import members_figure

    contents = {"front.json": (json.dumps(document, indent=1) + "\n").encode()}
    for kind in ("png", "svg"):
        contents[f"front.{kind}"] = members_figure(name, objectives, members, kind)
    for file, content in contents.items():
        write_atomically(folder / file, content)
        typer.echo(f"wrote {folder / file}", err=True)


COMMANDS = {"finalize": finalize}
