"""Commands for experiments on a server: `sparsemod submit`, `watch`, `list`, `show`, `stop` and others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    STATE_STYLES,
    ExperimentArgument,
    ServerOption,
    complain,
    connect,
    console,
    counted,
    duration,
    parse_parameters,
)
from service.cli.earlier import FromOption, with_experiments
from service.cli.folders import local_folder
from service.cli.trial_log import print_log
from service.client.lookup import as_id, which

if TYPE_CHECKING:
    from rich.text import Text

    from service.schemas.trials import ExperimentSummary


def submit(
    spec: Annotated[Path, typer.Argument(help="Spec file: .yaml, .json, .cfg or .ini.", metavar="SPEC")],
    server: ServerOption = DEFAULT_SERVER,
    earlier: FromOption = None,
    watching: Annotated[bool, typer.Option("--watch", "-w", help="Watch the experiment afterwards.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the spec on the server; start nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Start an experiment on the server."""
    from sparsemod.plugins import Names
    from sparsemod.spec.files import read

    client = connect(server)
    file = read(spec, Names.ANY)  # the server may know methods that are not known here
    started = with_experiments(file.spec, earlier, server)
    if dry_run:
        with file.locating():
            checked = client.check(started)
        count = counted(sum(part.trials for part in checked.spec.source.plan()), "trial")
        typer.echo(
            checked.model_dump_json(indent=1)
            if json_output
            else f"the spec is valid at {server}: {checked.spec.name}, {count}"
        )
        return
    with file.locating():
        experiment = client.create_experiment(started)
    if json_output:
        typer.echo(experiment.model_dump_json(indent=1))
        return
    trials = sum(part.trials for part in experiment.rounds.values())
    typer.echo(
        f"experiment {experiment.id} ({experiment.name}) started at {server}: {counted(trials, 'trial')}"
    )
    if watching:
        watch(str(experiment.id), server)


def watch(
    experiment: ExperimentArgument = "",
    server: ServerOption = DEFAULT_SERVER,
    refresh: Annotated[float, typer.Option(help="Seconds between updates.", min=0.1)] = 1.0,
) -> None:
    """Follow an experiment live: rounds, trials, workers, front and time left. Prints plain lines to a pipe."""
    from service.cli.view import render
    from service.cli.watching import Watcher, follow

    client = connect(server)
    view = which(client, experiment)
    output = console()
    try:
        last = follow(Watcher(client, view.id), refresh=refresh)
    except KeyboardInterrupt:
        typer.echo(f"The experiment continues; `sparsemod watch {view.id}` shows it again.", err=True)
        raise
    if output.is_terminal:
        output.print(render(last, height=10_000, width=output.width))
    if last.state == "failed":
        raise typer.Exit(1)


def list_experiments(
    state: Annotated[str | None, typer.Option(help="Only running, stopped, done or failed ones.")] = None,
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

    summaries = sorted(connect(server).experiments(state), key=lambda experiment: experiment.id, reverse=True)
    if json_output:
        typer.echo(json.dumps([experiment.model_dump(mode="json") for experiment in summaries], indent=1))
        return
    if not summaries:
        typer.echo(
            f"no experiment is {state}" if state else "no experiments yet; `sparsemod submit SPEC` starts one"
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("id", justify="right")
    owners = any(item.owner for item in summaries)
    for title in ("name", *(["owner"] if owners else []), "state", "progress"):
        table.add_column(title)
    for title in ("trials", "infeasible", "failed", "age"):
        table.add_column(title, justify="right")
    for item in summaries:
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
    for item in summaries:
        if item.paused:
            typer.echo(f"experiment {item.id} ({item.name}) is paused: {item.paused}")


def _state(item: "ExperimentSummary") -> "Text":
    from rich.text import Text

    text = Text(item.state, style=STATE_STYLES.get(item.state, ""))
    return text if item.spec_error is None else text.append(", its spec is not valid", style="red")


def show(
    experiment: ExperimentArgument = "",
    trial: Annotated[
        int | None, typer.Option("--trial", "-t", help="Show everything about this trial instead.", min=0)
    ] = None,
    spec: Annotated[bool, typer.Option("--spec", help="Print the whole spec as YAML.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --trial: its log.")] = False,
    following: Annotated[bool, typer.Option("--follow", "-f", help="With --log: keep following it.")] = False,
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
    selected_parts = [name for name, selected in parts.items() if selected]
    if selected_parts and trial is None:
        raise InvalidInput(selected_parts[0], "no trial", "only with --trial N")
    if len(selected_parts) > 1:
        raise InvalidInput(
            selected_parts[1], "given", f"not together with {selected_parts[0]}: one of {', '.join(parts)}"
        )
    if following and not log:
        raise InvalidInput("--follow", "given", "only with --trial N --log")
    client = connect(server)
    view = which(client, experiment)
    output = console()
    if trial is not None:
        from service.cli import trial_view

        if log:
            print_log(client, view.id, trial, follow=following, as_json=json_output)
        elif curve:
            write = trial_view.curve_json if json_output else trial_view.curve_csv
            typer.echo(write(client.curve(view.id, trial)), nl=False)
        elif network:
            graph = client.graph(view.id, trial)
            if json_output:
                typer.echo(graph.model_dump_json(indent=1))
            else:
                output.print(trial_view.render_network(graph))
        elif json_output:
            typer.echo(client.trial(view.id, trial).model_dump_json(indent=1))
        else:
            output.print(trial_view.render_trial(client.trial(view.id, trial), client.curve(view.id, trial)))
        return
    full = client.experiment(view.id)
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

        output.print(render(Watcher(client, view.id).snapshot(), height=10_000, width=output.width))


def stop(
    experiment: ExperimentArgument = "",
    trial: Annotated[int | None, typer.Option("--trial", "-t", help="End a trial for good.", min=0)] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Stop an experiment: no new trial is queued, running trials end between epochs. `resume` continues."""
    client = connect(server)
    if trial is not None:
        stopped = client.stop_trial(which(client, experiment).id, trial)
        words = (
            "is stopped" if stopped.state.finished else f"is {stopped.state} and ends after its current epoch"
        )
        typer.echo(f"trial {stopped.index} of experiment {stopped.experiment} {words}")
        return
    view = client.stop(which(client, experiment).id)
    typer.echo(
        f"experiment {view.id} ({view.name}) is {view.state}; `sparsemod resume {view.id}` continues it"
    )


def resume(experiment: ExperimentArgument = "", server: ServerOption = DEFAULT_SERVER) -> None:
    """Continue a stopped experiment; end the pauses that began because a machine lacked something."""
    client = connect(server)
    view = client.resume(which(client, experiment).id)
    typer.echo(f"experiment {view.id} ({view.name}) is {view.state}")


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
            f"{folder.folder} has {counted(total, 'trial')} in its rounds; `sparsemod run {folder.folder}` continues"
        )
        return
    client = connect(server)
    extended = client.extend(which(client, experiment).id, rounds=rounds, budgets=budgets or None)
    total = sum(part.trials for part in extended.rounds.values())
    typer.echo(
        f"experiment {extended.id} ({extended.name}) is {extended.state}, {counted(total, 'trial')} in its rounds"
    )


def mend(
    experiment: Annotated[str, typer.Argument(help="Id or name of an experiment.")],
    spec: Annotated[Path, typer.Argument(help="Spec file: .yaml, .json, .cfg or .ini.", metavar="SPEC")],
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Replace a stored spec that is no longer valid, for example after an update of the server. Trials stay.

    `sparsemod show ID --spec` prints the valid parts of the stored spec; `--json` prints the spec as stored.
    """
    from sparsemod.spec.files import load

    client = connect(server)
    view = client.mend(which(client, experiment).id, load(spec))
    typer.echo(f"experiment {view.id} ({view.name}) has a valid spec and is {view.state}")


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
    """Queue your candidate in an experiment."""
    candidate = parse_parameters(parameters)
    client = connect(server)
    queued = client.attach(which(client, experiment).id, candidate, epochs=epochs)
    typer.echo(f"trial {queued.index} of experiment {queued.experiment} is {queued.state}")


def delete(
    experiment: Annotated[str, typer.Argument(help="Id of an experiment, or a unique name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Delete an experiment for ever: its trials, curves and logs, and every file that no other experiment uses."""
    from sparsemod.errors import InvalidInput

    client = connect(server)
    view = which(client, experiment)
    if as_id(experiment) != view.id:
        same = sorted(one.id for one in client.experiments() if one.name == view.name)
        if len(same) > 1:
            ids = ", ".join(map(str, same))
            raise InvalidInput("experiment", experiment, f"an id: {ids} have this name")
    count = sum(view.counts.values())
    if not yes:
        active = ", which is running" if view.state == "running" else ""
        question = (
            f"Delete experiment {view.id} ({view.name}){active}, with its {counted(count, 'trial')} and their files? "
            "This cannot be undone."
        )
        typer.confirm(question, abort=True, err=True)
    client.delete(view.id)
    typer.echo(f"experiment {view.id} ({view.name}) is deleted, with its {counted(count, 'trial')}")


COMMANDS = {
    "submit": submit,
    "watch": watch,
    "list": list_experiments,
    "show": show,
    "stop": stop,
    "resume": resume,
    "extend": extend,
    "mend": mend,
    "attach": attach,
    "delete": delete,
}
