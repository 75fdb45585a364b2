"""`sparsemod families`, `datasets`, `devices`: the names that a spec may use."""

from typing import Annotated, Any

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    connect,
    console,
    import_modules,
    which,
)


def families(imports: ImportOption = None) -> None:
    """Network families, with their options."""
    from sparsemod.networks.registry import FAMILIES

    import_modules(imports)
    _show("network family", FAMILIES)


def datasets(imports: ImportOption = None) -> None:
    """Datasets that specs can name, with their options."""
    from sparsemod.data.registry import DATASETS

    import_modules(imports)
    _show("dataset", DATASETS)


def devices(
    fit: Annotated[
        str | None, typer.Option(help="Also: which of them each Pareto point of this experiment fits.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Target devices: core, clock, flash and RAM; with --fit, which of them an experiment's Pareto points fit."""
    from rich import box
    from rich.table import Table

    from sparsemod.targets import device, device_names
    from sparsemod.units import METRICS

    if fit is not None:
        _fits(fit, server)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "core"):
        table.add_column(title)
    for title in ("clock", "flash", "RAM"):
        table.add_column(title, justify="right")
    show = METRICS["model_size"].show
    for name in device_names():
        found = device(name)
        table.add_row(name, found.core, f"{found.clock / 1e6:.0f} MHz", show(found.flash), show(found.ram))
    console().print(table)


def _fits(experiment: str, server: str) -> None:
    """A row per Pareto point, a column per device: milliseconds where it fits, else the bytes over."""
    from rich import box
    from rich.table import Table

    from sparsemod.targets import device_fits, device_names
    from sparsemod.units import METRICS

    client = connect(server)
    points = client.pareto(which(client, experiment).id).points
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("trial", "flash", "RAM", *device_names()):
        table.add_column(title, justify="right")
    size, time = METRICS["model_size"].show, METRICS["latency"].show
    for point in points:
        found = device_fits(point.measurements)
        if not found:
            continue
        cells = [
            ", ".join(f"{region} +{size(over)}" for region, over in one.over.items())
            or ("fits" if one.milliseconds is None else time(one.milliseconds))
            for one in found
        ]
        table.add_row(str(point.index), size(found[0].flash), size(found[0].ram), *cells)
    console().print(table)
    typer.echo("times are estimates: instructions x stated cycles per instruction / clock", err=True)


def _show(title: str, registry: Any) -> None:
    """A table of a registry: name, options with their defaults, the first sentence of its description."""
    import inspect

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, style="bold")
    table.add_column("options")
    table.add_column("what it is")
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
        words = inspect.getdoc(member) or ""
        table.add_row(name, options or "-", words.split("\n")[0])
    console().print(table)


COMMANDS = {"families": families, "datasets": datasets, "devices": devices}
