"""Print the log of a trial."""

import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from service.client.client import Client

LOOK_SECONDS = 1.0
"""Pause between two looks at a log that is followed."""


def print_log(client: "Client", experiment: int, index: int, *, follow: bool, as_json: bool) -> None:
    """Print a trial's log, page by page; with `follow`, until the trial ends."""
    printed = 0
    while True:
        over = client.trial(experiment, index).state.finished
        while lines := client.log(experiment, index, printed):
            printed += len(lines)
            for line in lines:
                typer.echo(line.model_dump_json() if as_json else f"{line.level:>7}  {line.message}")
        if over or not follow:
            return
        time.sleep(LOOK_SECONDS)
