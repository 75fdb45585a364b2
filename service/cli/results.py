"""`sparsemod trials`, `pareto`, `importance`, `ax`: results of an experiment."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    STATE_STYLES,
    ExperimentArgument,
    ServerOption,
    connect,
    console,
    counted,
    metric_text,
    require_folder,
)
from service.client.lookup import which

if TYPE_CHECKING:
    from service.client.client import Client
    from service.schemas.trials import TrialView

PAGE = 500


class Format(StrEnum):
    """Output formats of results."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def trials(
    experiment: ExperimentArgument = "",
    state: Annotated[str | None, typer.Option(help="Only these: completed, infeasible, failed, ...")] = None,
    round_name: Annotated[
        str | None, typer.Option("--round", help="Only of this round, such as r1, grid or manual.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="Only of this origin, such as sobol, gp, morphism, grid or manual.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="index, state, a metric, ...")] = None,
    descending: Annotated[bool, typer.Option("--desc", help="Largest first.")] = False,
    limit: Annotated[int, typer.Option(help="Largest number of trials; 0: all.", min=0)] = 50,
    form: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.TABLE,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List the trials of an experiment."""
    client = connect(server)
    view = which(client, experiment)
    filters = {
        "state": state,
        "round": round_name,
        "origin": origin,
        "sort": sort,
        "order": "desc" if descending else None,
    }
    items, total = fetch_trials(
        client, view.id, limit, {name: value for name, value in filters.items() if value}
    )
    if form is Format.JSON:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in items], indent=1))
        return
    if form is Format.CSV:
        from sparsemod.report.results import trials_csv

        typer.echo(trials_csv(items), nl=False)
        return
    console().print(_trials_table(items, view.objectives))
    if len(items) < total:
        typer.echo(f"{len(items)} of {total} trials; --limit 0 shows all", err=True)


def fetch_trials(
    client: "Client", experiment: int, limit: int, filters: dict[str, Any]
) -> tuple[list["TrialView"], int]:
    """Return up to `limit` trials (0: all) and the number of matches; reads page by page."""
    items: list[TrialView] = []
    while True:
        size = PAGE if limit == 0 else min(PAGE, limit - len(items))
        page = client.trials_page(experiment, limit=size, offset=len(items), **filters)
        items += page.items
        if not page.items or len(items) >= page.total or (limit and len(items) >= limit):
            return items, page.total


def _trials_table(items: list["TrialView"], objectives: tuple[str, ...]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from service.cli.view import origin_text
    from sparsemod.units import METRICS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", justify="right")
    table.add_column("round")
    table.add_column("state")
    for name in objectives:
        table.add_column(METRICS[name].title, justify="right")
    table.add_column("origin, failure or reason of the stop")
    for item in items:
        values = item.known_values()
        candidate = item.candidate
        words = (
            item.failure_message
            or item.stop_reason
            or origin_text(candidate.origin, candidate.parent, candidate.operators)
        )
        table.add_row(
            str(item.index),
            candidate.round,
            Text(item.state, style=STATE_STYLES.get(item.state, "")),
            *(metric_text(name, values.get(name)) for name in objectives),
            words,
        )
    return table


def pareto(
    experiment: ExperimentArgument = "",
    form: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.TABLE,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write CSV, JSON and plots (PNG, SVG) to this folder."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print the Pareto front of an experiment."""
    client = connect(server)
    view = which(client, experiment)
    if form is Format.CSV:
        typer.echo(client.pareto_csv(view.id), nl=False)
    elif form is Format.JSON:
        typer.echo(client.pareto(view.id).model_dump_json(indent=1))
    else:
        from service.cli.view import emptiness, front_table
        from service.cli.watching import build_snapshot

        snapshot = build_snapshot(client.experiment(view.id), client.pareto(view.id))
        if not snapshot.front:
            typer.echo(emptiness(snapshot) + (f"; {snapshot.reason}" if snapshot.reason else ""))
        else:
            console().print(front_table(snapshot))
            typer.echo(f"{counted(len(snapshot.front), 'point')}, hypervolume {snapshot.hypervolume:.4f}")
    if out is not None:
        for path in write_files(client, view.id, out).values():
            typer.echo(f"wrote {path}", err=True)


def write_files(client: "Client", experiment: int, folder: Path) -> dict[str, Path]:
    """Write an experiment's tables and plots into `folder`; returns kind -> path."""
    from sparsemod.objectives import Objectives
    from sparsemod.report import write_results

    view = client.experiment(experiment)
    rounds = {name: part.title for name, part in view.rounds.items()}
    items, _ = fetch_trials(client, experiment, 0, {})
    objectives = Objectives(view.objectives, view.reference_point, view.budgets, view.scales)
    rows = [item for item in sorted(items, key=lambda item: item.index) if item.state.finished]
    front = client.pareto(experiment)
    return write_results(require_folder(folder, "--out"), view.name, objectives, rows, rounds, front)


def repetitions(
    experiment: ExperimentArgument = "",
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print them.")] = Format.TABLE,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show mean and standard deviation over trials of equal parameters."""
    from rich import box
    from rich.table import Table

    from sparsemod.report.combinations import varied
    from sparsemod.report.repetitions import repetitions_csv
    from sparsemod.units import METRICS

    client = connect(server)
    summary = which(client, experiment)
    if form is Format.CSV:
        items, _ = fetch_trials(client, summary.id, 0, {})
        typer.echo(repetitions_csv(items), nl=False)
        return
    groups = client.repetitions(summary.id)
    if form is Format.JSON:
        typer.echo(json.dumps([group.model_dump(mode="json") for group in groups], indent=1))
        return
    if not groups:
        typer.echo("no candidate was completed more than once")
        return
    differing = varied([group.parameters for group in groups])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trials", justify="right")
    for name in differing:
        table.add_column(name, justify="right")
    for name in summary.objectives:
        table.add_column(METRICS[name].title, justify="right")
    for group in groups:
        spreads = [group.metrics.get(name) for name in summary.objectives]
        table.add_row(
            str(len(group.trials)),
            *(str(group.parameters.get(name, "-")) for name in differing),
            *(
                "-" if one is None else f"{metric_text(name, one.mean)} ± {metric_text(name, one.deviation)}"
                for name, one in zip(summary.objectives, spreads, strict=True)
            ),
        )
    console().print(table)


def importance(
    experiment: ExperimentArgument = "",
    server: ServerOption = DEFAULT_SERVER,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the importance of each parameter for each metric:
    total Sobol' indices of a model of the completed trials."""
    from rich import box
    from rich.table import Table

    client = connect(server)
    view = client.importance(which(client, experiment).id)
    if json_output:
        typer.echo(view.model_dump_json(indent=1))
        return
    explained = {name: shares for name, shares in view.metrics.items() if name not in view.unexplained}
    if not view.metrics:
        typer.echo(view.reason or "no result yet")
    for name in view.unexplained:
        typer.echo(
            f"{_title(name)}: the model of {counted(view.trials, 'trial')} explains nothing; it predicts unseen trials no better than "
            f"their mean does (R² {view.accuracy.get(name, 0.0):.2f})"
        )
    if not explained:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("parameter")
    for name in explained:
        table.add_column(_title(name), justify="right")
    most = {
        name: max(shares.get(name, 0.0) for shares in explained.values())
        for name in dict.fromkeys(name for shares in explained.values() for name in shares)
    }
    for name in sorted(most, key=lambda name: -most[name]):
        shares = [by_parameter.get(name) for by_parameter in explained.values()]
        table.add_row(name, *("-" if share is None else f"{100 * share:.0f} %" for share in shares))
    table.add_section()
    table.add_row("R² of the model", *(f"{view.accuracy[name]:.2f}" for name in explained))
    console().print(table)
    late = "" if view.current else "; a newer answer is being computed"
    typer.echo(f"shares of each metric's variance over the space, from {view.trials} trials{late}", err=True)


def _title(metric: str) -> str:
    from sparsemod.units import METRICS

    return METRICS[metric].title if metric in METRICS else metric


def ax(
    experiment: ExperimentArgument = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write. Default: experiment-ID-ax.json.", dir_okay=False),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write an experiment as JSON for Ax: `ax.api.client.Client.load_from_json_file`."""
    client = connect(server)
    view = which(client, experiment)
    path = out or Path(f"experiment-{view.id}-ax.json")
    require_folder(path.parent, "--out")
    path.write_text(json.dumps(client.ax(view.id)) + "\n")
    typer.echo(f"wrote {path}")


COMMANDS = {
    "trials": trials,
    "repetitions": repetitions,
    "pareto": pareto,
    "importance": importance,
    "ax": ax,
}
