"""`sparsemod summary`: the combinations of an experiment's parameters, best first, and the mean by each value."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ExperimentArgument,
    ServerOption,
    connect,
    console,
    duration,
    metric_text,
)
from service.cli.folders import local_folder
from service.cli.results import Format, fetch_trials
from service.client.lookup import which

if TYPE_CHECKING:
    from rich.console import Console

    from sparsemod.records import TrialRecord
    from sparsemod.report.combinations import Combination
    from sparsemod.report.repetitions import Spread


def summary(
    experiment: ExperimentArgument = "",
    by: Annotated[
        str, typer.Option(help="The metric that orders the lines. Default: the first objective.")
    ] = "",
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.TABLE,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print a line for each combination of parameters: trials, mean and deviation of the objectives and
    of the angle to the true gradient, time; best first.

    Below, the mean of the first metric by each value of each parameter that varies. EXPERIMENT may be the folder of a
    local run.
    """
    from sparsemod.errors import UnknownName
    from sparsemod.report.combinations import combinations, ranked, summary_csv

    folder = local_folder(experiment)
    rows: Sequence[TrialRecord]
    if folder is not None:
        rows, objectives = [trial.record for trial in folder.trials], folder.spec.objectives
    else:
        client = connect(server)
        view = which(client, experiment)
        rows, _ = fetch_trials(client, view.id, 0, {})
        objectives = tuple(view.objectives)
    found = combinations(rows)
    known = dict.fromkeys(name for one in found for name in one.metrics)
    if by and found and by not in known:
        raise UnknownName("--by", by, known)
    metrics = (by, *(name for name in objectives if name != by)) if by else tuple(objectives)
    found = ranked(found, metrics[0])
    if form is Format.CSV:
        typer.echo(summary_csv(found), nl=False)
    elif form is Format.JSON:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        _print(console(), found, metrics)


def print_summary(output: "Console", rows: "Sequence[TrialRecord]", objectives: tuple[str, ...]) -> None:
    """Print the table and the means of the first objective."""
    from sparsemod.report.combinations import combinations, ranked

    _print(output, ranked(combinations(rows), objectives[0]), objectives)


def _print(output: "Console", found: "Sequence[Combination]", metrics: tuple[str, ...]) -> None:
    from rich import box
    from rich.table import Table

    from sparsemod.report.combinations import by_value, varied
    from sparsemod.units import ANGLE, title

    if not found:
        typer.echo("no trial is finished")
        return
    if ANGLE not in metrics and any(ANGLE in one.metrics for one in found):
        metrics = (*metrics, ANGLE)
    names = varied([one.parameters for one in found])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for column in (*names, "trials", *map(title, metrics), "time"):
        table.add_column(column, justify="right")
    table.add_column("failure")
    for one in found:
        total = sum(one.states.values())
        table.add_row(
            *(str(one.parameters.get(name, "-")) for name in names),
            str(total) if one.completed == total else f"{one.completed} of {total}",
            *(_spread(name, one.metrics.get(name), one.completed) for name in metrics),
            duration(one.seconds),
            " ".join(one.failure.split())[:60],
        )  # fmt: skip
    output.print(table)
    means = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("parameter", "value", f"mean {title(metrics[0])}"):
        means.add_column(column, justify="right")
    for name, values in by_value(found, metrics[0]).items():
        for value, spread in sorted(values.items(), key=lambda pair: pair[1].mean):
            means.add_row(name, str(value), metric_text(metrics[0], spread.mean))
    if means.rows:
        output.print(means)


def _spread(name: str, one: "Spread | None", count: int) -> str:
    if one is None:
        return "-"
    mean = metric_text(name, one.mean)
    return mean if count < 2 else f"{mean} ± {metric_text(name, one.deviation)}"


COMMANDS = {"summary": summary}
