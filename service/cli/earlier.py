"""The option `--from`: a new search starts with what earlier experiments found on the same data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import connect
from service.cli.folders import local_folder
from service.cli.results import fetch_trials
from service.client.lookup import which

if TYPE_CHECKING:
    from sparsemod.spec.experiment import ExperimentSpec

FromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        help="Folder of a local run, or id or name of an experiment on the server, with the same data: the model of the search starts with its trials; repeatable.",
        metavar="EXPERIMENT",
    ),
]


def with_experiments(spec: "ExperimentSpec", names: Sequence[str] | None, server: str) -> "ExperimentSpec":
    """Return the spec with the completed trials of the named experiments. Raises InvalidInput, which names `--from`."""
    from sparsemod.errors import InvalidInput
    from sparsemod.search.earlier import with_earlier

    for name in names or ():
        try:
            folder = local_folder(name)
        except InvalidInput as error:
            raise InvalidInput("--from", error.value, error.allowed) from None
        if folder is not None:
            spec = with_earlier(spec, folder.spec, [trial.record for trial in folder.trials], "--from", name)
            continue
        client = connect(server)
        view = client.experiment(which(client, name).id)
        rows, _ = fetch_trials(client, view.id, 0, {"state": "completed"})
        spec = with_earlier(spec, view.spec, rows, "--from", name)
    return spec
