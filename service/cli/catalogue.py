"""`sparsemod families`, `datasets`, `devices`: the names that a spec may use."""

from typing import Any

from service.cli.common import ImportOption, console, import_modules


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


def devices() -> None:
    """Target devices: core, clock, flash and RAM."""
    from rich import box
    from rich.table import Table

    from sparsemod.targets import device, device_names
    from sparsemod.units import METRICS

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
