"""`sparsemod count`: parameters and multiply-adds of published networks with substitute convolutions."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import console

if TYPE_CHECKING:
    from sparsemod.substitutes.counting import Counts


def count(
    dataset: Annotated[
        str, typer.Argument(help="The images: cifar10, cifar100 or imagenet.", metavar="[DATASET]")
    ] = "cifar10",
    network: Annotated[str, typer.Option(help="A network of the zoo, such as wrn-28-10.")] = "wrn-28-10",
    substitute: Annotated[
        str, typer.Option(help="A substitute, such as SepHashed_0.1; with --budget without its setting.")
    ] = "none",
    skip: Annotated[
        list[str] | None,
        typer.Option(help="A layer or pattern that keeps its convolution. Default: the network's own list."),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help='Find the setting for "parameters 1M", "multiply-adds 100M", "flash 64 KB", "ram 32 KB" or "instructions 5M".'
        ),
    ] = "",
    device: Annotated[
        str, typer.Option(help="The device of a budget of flash, RAM or instructions.")
    ] = "stm32f446",
    published: Annotated[
        bool, typer.Option("--published", help="Reproduce every published count instead.")
    ] = False,
) -> None:
    """Count parameters and multiply-adds of a network, with a sanity check, by the correct and the legacy counters.

    The legacy counters have the flaws of the published figures: they ignore dilation, and count ACDC layers as fast
    transforms. Exit code 1: a budget is unreachable, or a published count differs.
    """
    from sparsemod.errors import InvalidInput

    if published:
        _published()
        return
    try:
        reached = _counted(dataset, network, substitute, tuple(skip) if skip else None, budget, device)
    except InvalidInput as error:
        raise InvalidInput(_OPTIONS.get(error.field, error.field), error.value, error.allowed) from None
    if not reached:
        raise typer.Exit(1)


_OPTIONS = {
    "network": "--network", "substitute": "--substitute", "skip": "--skip", "budget": "--budget",
    "target.device": "--device",
}  # fmt: skip
"""The options that set a field."""


def _counted(
    dataset: str, network: str, substitute: str, kept: tuple[str, ...] | None, budget: str, device: str
) -> bool:
    """Print the counts. Return whether the budget is met and the sanity check holds."""
    from sparsemod.errors import InvalidInput, UnknownName
    from sparsemod.networks.zoo.catalogue import DATASETS
    from sparsemod.substitutes.base import NONE
    from sparsemod.substitutes.published import RULES, counted

    if dataset not in DATASETS:
        raise UnknownName("DATASET", dataset, DATASETS)
    if kept and substitute == NONE:
        raise InvalidInput("skip", list(kept), "only with --substitute")
    met = True
    if budget:
        from sparsemod.pipeline.substituted import fit_budget

        found = fit_budget(network, substitute, dataset, kept, budget, device)
        typer.echo(str(found))
        substitute, met = str(found.substitute), found.met
    counts, layers = counted(network, substitute, dataset, kept)
    typer.echo(f"network:         {network} on {dataset}")
    typer.echo(f"substitute:      {substitute}, {layers} layers replaced")
    typer.echo(f"parameters:      {counts.parameters:,} ({counts.parameters:.5E})")
    typer.echo(f"multiply-adds:   {counts.multiply_adds:,} ({counts.multiply_adds:.5E})")
    typer.echo(f"sanity check:    {_sanity(counts)}")
    for name, rules in RULES.items():
        if name != "correct":
            other, _ = counted(network, substitute, dataset, kept, rules)
            typer.echo(f"{name + ':':<16} {other.multiply_adds:,} multiply-adds ({other.multiply_adds:.5E})")
    return met and counts.parameters == counts.reached


def _sanity(counts: "Counts") -> str:
    if counts.parameters == counts.reached:
        return f"the run reaches all {counts.parameters:,} parameters"
    return f"the run reaches {counts.reached:,} of {counts.parameters:,} parameters"


def _published() -> None:
    """Print every published count beside ours. Ends with exit code 1 when one differs."""
    from rich import box
    from rich.table import Table

    from sparsemod.substitutes.published import reproduced

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("network", "substitute", "counter"):
        table.add_column(title)
    for title in ("parameters", "ours", "multiply-adds", "ours"):
        table.add_column(title, justify="right")
    table.add_column("")
    different = 0
    for one, found in reproduced():
        same = one.same(found)
        different += not same
        table.add_row(
            one.network,
            one.substitute + (" (skip connections kept)" if one.skip else ""),
            one.counter,
            _number(one.parameters),
            _number(found.parameters),
            _number(one.multiply_adds),
            _number(found.multiply_adds),
            "DIFFERS" if not same else f"equal to {one.digits} digits" if one.digits else "equal",
        )
    console().print(table)
    if different:
        typer.echo(f"{different} published counts differ", err=True)
        raise typer.Exit(1)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


COMMANDS = {"count": count}
