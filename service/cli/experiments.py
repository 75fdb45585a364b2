"""`sparsemod submit`, `watch`, `list`, `show`, `stop`, `resume`, `retry`, `extend`, `mend`, `attach`, `delete`: experiments on a server."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    STATE_STYLES,
    ExperimentArgument,
    ServerOption,
    as_id,
    complain,
    connect,
    console,
    counted,
    duration,
    parse_parameters,
    which,
)
from service.cli.folders import local_folder

if TYPE_CHECKING:
    from rich.text import Text

    from service.client.client import Client
    from service.schemas.trials import ExperimentSummary

LOOK_SECONDS = 1.0
"""Pause between two looks at a log that is followed."""


def submit(
    spec: Annotated[Path, typer.Argument(help="Spec file: .yaml, .json, .cfg or .ini.", metavar="SPEC")],
    server: ServerOption = DEFAULT_SERVER,
    watching: Annotated[bool, typer.Option("--watch", "-w", help="Then watch it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only ask the server whether it would take it; start nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Start an experiment on the server."""
    from sparsemod.plugins import Names
    from sparsemod.spec.files import read

    client = connect(server)
    file = read(spec, Names.ANY)  # the server may know methods that are not known here
    if dry_run:
        with file.locating():
            checked = client.check(file.spec)
        count = counted(sum(part.trials for part in checked.spec.source.plan()), "trial")
        typer.echo(
            checked.model_dump_json(indent=1)
            if json_output
            else f"{server} would take it: {checked.spec.name}, {count}"
        )
        return
    with file.locating():
        experiment = client.create_experiment(file.spec)
    if json_output:
        typer.echo(experiment.model_dump_json(indent=1))
        return
    trials = sum(part.trials for part in experiment.rounds.values())
    typer.echo(
        f"experiment {experiment.id} ({experiment.name}): {counted(trials, 'trial')} to come at {server}"
    )
    if watching:
        watch(str(experiment.id), server)


def watch(
    experiment: ExperimentArgument = "",
    server: ServerOption = DEFAULT_SERVER,
    refresh: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1)] = 1.0,
) -> None:
    """Follow an experiment live: rounds, trials, workers, the current front, the time left. Plain lines when piped."""
    from service.cli.view import render
    from service.cli.watching import Watcher, follow

    client = connect(server)
    found = which(client, experiment)
    output = console()
    try:
        last = follow(Watcher(client, found.id), refresh=refresh)
    except KeyboardInterrupt:
        typer.echo(f"The experiment goes on; `sparsemod watch {found.id}` shows it again.", err=True)
        raise
    if output.is_terminal:
        output.print(render(last, height=10_000, width=output.width))
    if last.state == "failed":
        raise typer.Exit(1)


def list_experiments(
    state: Annotated[str | None, typer.Option(help="Only these: running, stopped, done or failed.")] = None,
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the experiments, newest first."""
    import json
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from service.cli.view import bar
    from sparsemod.records import TrialState

    found = sorted(connect(server).experiments(state), key=lambda experiment: experiment.id, reverse=True)
    if json_output:
        typer.echo(json.dumps([experiment.model_dump(mode="json") for experiment in found], indent=1))
        return
    if not found:
        typer.echo(
            f"no experiment is {state}" if state else "no experiments yet; `sparsemod submit SPEC` starts one"
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("id", justify="right")
    owners = any(item.owner for item in found)
    for title in ("name", *(["owner"] if owners else []), "state", "progress"):
        table.add_column(title)
    for title in ("trials", "infeasible", "failed", "age"):
        table.add_column(title, justify="right")
    for item in found:
        total = sum(part.trials for part in item.rounds.values())
        done = sum(part.done for part in item.rounds.values())
        age = duration((datetime.now(UTC) - item.created_at).total_seconds())
        table.add_row(
            str(item.id),
            Text(item.name, style="bold"),
            *([item.owner or "-"] if owners else []),
            _state(item),
            Text(bar(done, total, 16), style="cyan"),
            f"{done}/{total}",
            str(item.counts.get(TrialState.INFEASIBLE, 0)),
            str(item.counts.get(TrialState.FAILED, 0)),
            age,
        )
    console().print(table)
    for item in found:
        if item.paused:
            typer.echo(f"experiment {item.id} ({item.name}) is paused: {item.paused}")


def _state(item: "ExperimentSummary") -> "Text":
    from rich.text import Text

    found = Text(item.state, style=STATE_STYLES.get(item.state, ""))
    return found if item.spec_error is None else found.append(", its spec is not valid", style="red")


def show(
    experiment: ExperimentArgument = "",
    trial: Annotated[
        int | None, typer.Option("--trial", "-t", help="One trial instead: everything about it.", min=0)
    ] = None,
    spec: Annotated[bool, typer.Option("--spec", help="Print the whole spec as YAML.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --trial: its log.")] = False,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="With --log: go on while the trial does.")
    ] = False,
    curve: Annotated[bool, typer.Option("--curve", help="With --trial: its learning curve as CSV.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="With --trial: its network as deployed, operator by operator.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an experiment, or one of its trials."""
    from sparsemod.errors import InvalidInput

    parts = {"--log": log, "--curve": curve, "--network": network}
    chosen = [name for name, given in parts.items() if given]
    if chosen and trial is None:
        raise InvalidInput(chosen[0], "no trial", "only with --trial N")
    if len(chosen) > 1:
        raise InvalidInput(chosen[1], "given", f"not together with {chosen[0]}: one of {', '.join(parts)}")
    if following and not log:
        raise InvalidInput("--follow", "given", "only with --trial N --log")
    client = connect(server)
    found = which(client, experiment)
    output = console()
    if trial is not None:
        from service.cli import trial_view

        if log:
            _log(client, found.id, trial, follow=following, as_json=json_output)
        elif curve:
            points = client.curve(found.id, trial)
            typer.echo(
                trial_view.curve_json(points) if json_output else trial_view.curve_csv(points), nl=False
            )
        elif network:
            graph = client.graph(found.id, trial)
            if json_output:
                typer.echo(graph.model_dump_json(indent=1))
            else:
                output.print(trial_view.render_network(graph))
        elif json_output:
            typer.echo(client.trial(found.id, trial).model_dump_json(indent=1))
        else:
            output.print(
                trial_view.render_trial(client.trial(found.id, trial), client.curve(found.id, trial))
            )
        return
    full = client.experiment(found.id)
    if json_output:
        typer.echo(full.model_dump_json(indent=1))
    elif spec:
        from sparsemod.spec.files import dump

        if (trouble := full.spec_trouble()) is not None:
            complain(trouble)
        typer.echo(dump(full.spec), nl=False)
    else:
        from service.cli.view import render
        from service.cli.watching import Watcher

        output.print(render(Watcher(client, found.id).snapshot(), height=10_000, width=output.width))


def _log(client: "Client", experiment: int, index: int, *, follow: bool, as_json: bool) -> None:
    """Print a trial's log, page by page; with `follow` until the trial is over."""
    known = 0
    while True:
        over = client.trial(experiment, index).state.finished
        while lines := client.log(experiment, index, known):
            known += len(lines)
            for line in lines:
                typer.echo(line.model_dump_json() if as_json else f"{line.level:>7}  {line.message}")
        if over or not follow:
            return
        time.sleep(LOOK_SECONDS)


def stop(
    experiment: ExperimentArgument = "",
    trial: Annotated[
        int | None, typer.Option("--trial", "-t", help="End this trial instead, for good.", min=0)
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Stop an experiment: nothing new is queued, running trials end between epochs. `resume` goes on."""
    client = connect(server)
    if trial is not None:
        view = client.stop_trial(which(client, experiment).id, trial)
        words = (
            "is stopped" if view.state.finished else f"is {view.state} and ends after the epoch that it is in"
        )
        typer.echo(f"trial {view.index} of experiment {view.experiment} {words}")
        return
    found = client.stop(which(client, experiment).id)
    typer.echo(
        f"experiment {found.id} ({found.name}) is {found.state}; `sparsemod resume {found.id}` goes on"
    )


def resume(experiment: ExperimentArgument = "", server: ServerOption = DEFAULT_SERVER) -> None:
    """Go on with a stopped experiment; try at once what is paused because a machine lacked something."""
    client = connect(server)
    found = client.resume(which(client, experiment).id)
    typer.echo(f"experiment {found.id} ({found.name}) is {found.state}")


def retry(
    experiment: ExperimentArgument = "",
    trial: Annotated[
        list[int] | None,
        typer.Option(
            "--trial", "-t", help="Only this failed trial; may be given several times.", min=0, metavar="N"
        ),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Try failed trials again, with all their attempts. Without --trial: all that failed by a fault, not those whose network cannot be built."""
    client = connect(server)
    found = which(client, experiment)
    again = client.retry(found.id, trial or None)
    if not again:
        typer.echo(f"no trial of experiment {found.id} ({found.name}) has failed by a fault")
        return
    names = ", ".join(map(str, again))
    typer.echo(
        f"{counted(len(again), 'trial')} of experiment {found.id} ({found.name}) queued again: {names}"
    )


def extend(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment, or the folder of a local run; the newest experiment when left out.",
            metavar="[EXPERIMENT]",
        ),
    ] = "",
    more: Annotated[
        list[str] | None,
        typer.Option("--more", help="ROUND=N: so many more trials of a round, such as r3=20 or grid=12."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help='A new limit: "flash <= 32 KB"; "flash" alone removes it.'),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Add trials to an experiment's rounds, or change its budgets."""
    from sparsemod.errors import InvalidInput
    from sparsemod.units import metric, parse_limit

    budgets: dict[str, str | float | None] = {}
    for text in budget or ():
        if "<=" in text:
            name, limit = parse_limit(text, "--budget")
            budgets[name] = limit
        else:
            budgets[metric(text.strip().lower(), "--budget").name] = None
    rounds: dict[str, int] = {}
    for text in more or ():
        name, _, count = text.partition("=")
        if not name or not count.isdecimal() or name in rounds:
            raise InvalidInput("--more", text, "ROUND=N with a number of further trials, each round once")
        rounds[name] = int(count)
    if not any(rounds.values()) and not budgets:
        raise InvalidInput("extend", "nothing", "at least one of --more, --budget")
    folder = local_folder(experiment)
    if folder is not None:
        total = sum(part.trials for part in folder.extend(rounds, budgets or None).source.plan())
        typer.echo(
            f"{folder.folder} has {counted(total, 'trial')} in its rounds; `sparsemod run {folder.folder}` goes on"
        )
        return
    client = connect(server)
    found = client.extend(which(client, experiment).id, rounds=rounds, budgets=budgets or None)
    total = sum(part.trials for part in found.rounds.values())
    typer.echo(
        f"experiment {found.id} ({found.name}) is {found.state}, {counted(total, 'trial')} in its rounds"
    )


def mend(
    experiment: Annotated[str, typer.Argument(help="Id or name of an experiment.")],
    spec: Annotated[Path, typer.Argument(help="Spec file: .yaml, .json, .cfg or .ini.", metavar="SPEC")],
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Replace the stored spec of an experiment that is not valid any more, for example after an update of the server. Trials stay.

    `sparsemod show ID --spec` prints what can be read of the stored spec, `--json` the spec as it is stored.
    """
    from sparsemod.spec.files import load

    client = connect(server)
    found = client.mend(which(client, experiment).id, load(spec))
    typer.echo(f"experiment {found.id} ({found.name}) has a valid spec and is {found.state}")


def attach(
    experiment: Annotated[str, typer.Argument(help="Id or name of an experiment.")],
    parameters: Annotated[
        list[str], typer.Argument(help="The candidate: NAME=VALUE ...", metavar="NAME=VALUE...")
    ],
    epochs: Annotated[
        int | None, typer.Option(help="Epochs; default: those of the source for fresh networks.", min=1)
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Queue a candidate of your own in an experiment."""
    candidate = parse_parameters(parameters)
    client = connect(server)
    found = client.attach(which(client, experiment).id, candidate, epochs=epochs)
    typer.echo(f"trial {found.index} of experiment {found.experiment} is {found.state}")


def delete(
    experiment: Annotated[str, typer.Argument(help="Id of an experiment, or a name that only one has.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Delete an experiment for ever: its trials, curves and logs, and every file that no other experiment uses."""
    from sparsemod.errors import InvalidInput

    client = connect(server)
    found = which(client, experiment)
    if as_id(experiment) != found.id:
        same = sorted(one.id for one in client.experiments() if one.name == found.name)
        if len(same) > 1:
            ids = ", ".join(map(str, same))
            raise InvalidInput("experiment", experiment, f"an id: {ids} have this name")
    count = sum(found.counts.values())
    if not yes:
        active = ", which is running" if found.state == "running" else ""
        question = (
            f"Delete experiment {found.id} ({found.name}){active}, with its {counted(count, 'trial')} and their files? "
            "This cannot be undone."
        )
        typer.confirm(question, abort=True, err=True)
    client.delete(found.id)
    typer.echo(f"experiment {found.id} ({found.name}) is deleted, with its {counted(count, 'trial')}")


COMMANDS = {
    "submit": submit,
    "watch": watch,
    "list": list_experiments,
    "show": show,
    "stop": stop,
    "resume": resume,
    "retry": retry,
    "extend": extend,
    "mend": mend,
    "attach": attach,
    "delete": delete,
}
