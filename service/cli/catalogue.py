"""`sparsemod families`, `datasets`, `devices`: the names that a spec may use."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import DEFAULT_SERVER, ImportOption, ServerOption, connect, console, import_modules
from service.client.lookup import which

if TYPE_CHECKING:
    from service.schemas.dashboard import DatasetView, FamilyView


RemoteOption = Annotated[
    bool, typer.Option("--remote", help="List what the server has instead of this machine.")
]


def families(
    imports: ImportOption = None, remote: RemoteOption = False, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List network families with their options."""
    if remote:
        _show("network family", [_remote(one) for one in connect(server).catalogue().families])
        return
    from sparsemod.networks.family import FAMILIES

    import_modules(imports)
    _show("network family", _local(FAMILIES))


def datasets(
    imports: ImportOption = None, remote: RemoteOption = False, server: ServerOption = DEFAULT_SERVER
) -> None:
    """List the datasets that specs can name, with their options."""
    if remote:
        _show("dataset", [_remote(one) for one in connect(server).catalogue().datasets])
        return
    from sparsemod.data.source import DATASETS

    import_modules(imports)
    _show("dataset", _local(DATASETS))


def devices(
    fit: Annotated[
        str | None, typer.Option(help="Show which devices each Pareto point of this experiment fits.")
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", "-t", help="With --fit: show this trial instead.", min=0)
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """List target devices with core, clock, flash and RAM.
    With --fit: show which of them an experiment's Pareto points fit."""
    from rich import box
    from rich.table import Table

    from sparsemod.errors import InvalidInput
    from sparsemod.targets import device, device_names
    from sparsemod.units import METRICS

    if trial is not None and fit is None:
        raise InvalidInput("--trial", trial, "only with --fit EXPERIMENT")
    if fit is not None:
        _fits(fit, trial, server)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "core"):
        table.add_column(title)
    for title in ("clock", "flash", "RAM"):
        table.add_column(title, justify="right")
    show = METRICS["model_size"].show
    for name in device_names():
        target = device(name)
        table.add_row(
            name, target.core, f"{target.clock / 1e6:.0f} MHz", show(target.flash), show(target.ram)
        )
    console().print(table)


def _fits(experiment: str, trial: int | None, server: str) -> None:
    """Print a row per Pareto point, or for one trial, and a column per device:
    milliseconds when it fits, otherwise the excess bytes."""
    from rich import box
    from rich.table import Table

    from sparsemod.units import METRICS

    client = connect(server)
    number = which(client, experiment).id
    if trial is None:
        rows = [(point.trial, point.devices) for point in client.device_fits(number) if point.devices]
    else:
        one_trial = tuple(client.trial_device_fits(number, trial))
        rows = [(trial, one_trial)] if one_trial else []
    if not rows:
        typer.echo("flash and RAM are not known yet")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = [one.device for one in rows[0][1]]
    for title in ("trial", "flash", "RAM", *names):
        table.add_column(title, justify="right")
    size, time = METRICS["model_size"].show, METRICS["latency"].show
    for index, fits in rows:
        cells = [
            ", ".join(f"{region} +{size(over)}" for region, over in one.over.items())
            or ("fits" if one.milliseconds is None else time(one.milliseconds))
            for one in fits
        ]
        table.add_row(str(index), size(fits[0].flash), size(fits[0].ram), *cells)
    console().print(table)
    typer.echo("times are estimates: instructions x stated cycles per instruction / clock", err=True)


def _remote(view: "FamilyView | DatasetView") -> tuple[str, str, str]:
    """Return name, options with their defaults, and description of an entry of a server's catalogue."""
    options = (one.name if one.required else f"{one.name}={one.default!r}" for one in view.options)
    return view.name, ", ".join(options), view.description


def _local(registry: Any) -> list[tuple[str, str, str]]:
    """Return name, options with their defaults, and description of every member of a registry."""
    import inspect

    rows = []
    for name in registry.names():
        member = registry.get(name)
        try:
            parameters = list(inspect.signature(member).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        options = ", ".join(
            p.name if p.default is p.empty else f"{p.name}={p.default!r}"
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        )
        rows.append((name, options, (inspect.getdoc(member) or "").split("\n")[0]))
    return rows


def _show(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print a table of names, options with their defaults, and descriptions."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, style="bold")
    table.add_column("options")
    table.add_column("description")
    for name, options, words in rows:
        table.add_row(name, options or "-", words)
    console().print(table)


COMMANDS = {"families": families, "datasets": datasets, "devices": devices}
