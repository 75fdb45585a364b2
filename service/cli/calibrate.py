"""`sparsemod calibrate`: fit a core's operator model to this project's kernels."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import console


def calibrate(
    core: Annotated[str, typer.Option(help="m0, m3, m4, m7, m23, m33, m55 or rv32.")] = "m4",
    networks: Annotated[int, typer.Option(help="Random networks for the fit.", min=10)] = 70,
    held_out: Annotated[
        int, typer.Option("--held-out", help="Other random networks for the evaluation.", min=2)
    ] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the random networks.", min=0)] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="YAML file to write.")] = None,
) -> None:
    """Measure random networks on the emulated core; fit and evaluate its operator model. Takes about half a minute."""
    from rich.progress import Progress

    from sparsemod.calibration import calibrate as run
    from sparsemod.calibration import write

    with Progress(console=console(), transient=True) as progress:
        task = progress.add_task("measuring networks", total=networks + held_out)
        model = run(
            core,
            networks=networks,
            held_out=held_out,
            seed=seed,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    result = model.calibration
    if result is not None:
        typer.echo(
            f"{model.core}: on {result.held_out} networks that were not used in the fit, mean error of instructions "
            f"{result.instructions:.2%} (worst {result.worst:.2%}), flash {result.flash:.2%}, RAM {result.ram:.2%}; "
            f"Kendall tau {result.tau:.3f}"
        )
    path = out or Path(f"{model.core}.yaml")
    write(model, path)
    typer.echo(f"wrote {path}")


COMMANDS = {"calibrate": calibrate}
