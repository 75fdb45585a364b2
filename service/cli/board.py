"""`sparsemod board` and `sparsemod calibrate-board`: a network on a board, layer by layer, and the board's cycles per instruction."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    console,
    import_modules,
    require_folder,
)

if TYPE_CHECKING:
    from sparsemod.board import Board, BoardReport
    from sparsemod.targets import Device

PortOption = Annotated[
    str, typer.Option(help="Serial port of your board, such as /dev/ttyACM0. Default: QEMU is the board.")
]
BaudOption = Annotated[int, typer.Option(help="Baud rate of the port.", min=1)]
TimeoutOption = Annotated[
    float, typer.Option(help="Seconds without a byte until the board counts as silent.", min=0.1)
]
LoadOption = Annotated[
    str,
    typer.Option(
        help='Shell command that builds and flashes, run in the --project folder, such as "cmake --build build && make flash".'
    ),
]
DeviceOption = Annotated[str, typer.Option(help="Device or .yaml profile: its core, clock, flash and RAM.")]


def board(
    source: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment, the folder of a local run, a network.npz, or a model file: .onnx, .tflite, .pt2 or MODULE:ATTRIBUTE.",
            metavar="NETWORK",
        ),
    ],
    trial: Annotated[
        int | None, typer.Argument(help="The trial. Default: the first point of the Pareto front.", min=0)
    ] = None,
    device: DeviceOption = "",
    core: Annotated[
        str, typer.Option(help="Core of the board: m0, m4, rv32, ... Default: the device's.")
    ] = "",
    port: PortOption = "",
    baud: BaudOption = 115200,
    timeout: TimeoutOption = 10.0,
    project: Annotated[
        Path | None, typer.Option(help="Write the firmware's project for a real board into this folder.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of a new project: cmake or zephyr.")] = "cmake",
    load: LoadOption = "",
    samples: Annotated[int, typer.Option(help="Number of golden inputs.", min=1, max=1000)] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Samples of a model file, .npz with x and y, for the activation ranges of a float model."
        ),
    ] = None,
    shape: Annotated[
        str,
        typer.Option(
            help="Shape of one sample of a model file, such as 1,28,28, where the file does not state it."
        ),
    ] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Run a network on a board: compare the output of every layer with golden vectors, and read the time.

    Without --port and --project, QEMU is the board, and its serial line a pseudo-terminal. With --project, only the
    project is written, unless --port is given too. Exit code 1: the board computes other bytes than the integer network.
    """
    from service.cli.subject import subject
    from sparsemod.board import check_board, firmware, write_project
    from sparsemod.export.names import model_name

    import_modules(imports)
    with console(stderr=True).status("reading the network"):
        found = subject(source, trial, server, data, shape)
    target = _device(device or found.device)
    chosen = core or (target.core if target is not None else "cortex-m4")
    where = _board(chosen, port, baud, timeout, project, load, target)
    if project is not None:
        made = firmware(found.network, core=where.core, samples=samples, most_golden=where.most_golden)
        sizes = {} if target is None else {"hertz": target.clock, "flash": target.flash, "ram": target.ram}
        written = write_project(made, require_folder(project, "--project"), kind, where.core, **sizes)
        yours = ", ".join(str(path.relative_to(project)) for path in written) or "no other file"
        typer.echo(f"{project}: wrote network/ and {yours}", err=json_output)
        if not port:
            return
    with console(stderr=True).status(f"running on {where.title}"):
        report = check_board(found.network, where, name=model_name(found.title), samples=samples)
    if json_output:
        typer.echo(_json(report))
    else:
        show(report)
    if not report.equal:
        raise typer.Exit(1)


def calibrate_board(
    device: DeviceOption = "stm32f446",
    port: PortOption = "",
    baud: BaudOption = 115200,
    timeout: TimeoutOption = 10.0,
    project: Annotated[
        Path | None, typer.Option(help="Folder of the project that `sparsemod board --project` wrote.")
    ] = None,
    load: LoadOption = "",
    networks: Annotated[int, typer.Option(help="Random networks for the fit.", min=2)] = 12,
    held_out: Annotated[
        int, typer.Option("--held-out", help="Other random networks for the evaluation.", min=2)
    ] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the random networks.", min=0)] = 1,
    name: Annotated[
        str, typer.Option(help="Name of the new profile. Default: the device's name and -board.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="YAML file to write. Default: NAME.yaml.")
    ] = None,
) -> None:
    """Measure random networks on a board; fit the cycles per instruction of every kernel, and write a device profile.

    Each network is built, flashed by --load, checked and timed. Without --port, QEMU is the board: it counts
    instructions, which the profile says.
    """
    from rich.progress import Progress

    from sparsemod.board import calibrate_board as run
    from sparsemod.board.calibrate import write
    from sparsemod.errors import InvalidInput

    target = _device(device)
    if target is None:
        raise InvalidInput("--device", device, "a device or the path of its profile")
    if port and (project is None or not load):
        raise InvalidInput("--load", load, "given with --project: every network is built and flashed")
    where = _board(target.core, port, baud, timeout, project, load, target)
    command = f"sparsemod calibrate-board --device {device} --networks {networks} --held-out {held_out} --seed {seed}"
    with Progress(console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring networks", total=networks + held_out)
        fitted = run(
            target, where, networks=networks, held_out=held_out, seed=seed, command=command + (f" --port {port}" if port else ""),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    title = name or f"{target.name}-board"
    fitted = fitted.model_copy(update={"name": title})
    path = out or Path(f"{title}.yaml")
    write(fitted, path)
    result = fitted.calibration
    if result is not None:
        typer.echo(
            f"{title}: {fitted.cycles_per_instruction:g} {result.unit} per instruction in all, "
            f"{', '.join(f'{kernel} {value:g}' for kernel, value in fitted.cycles.items())}"
        )
        typer.echo(
            f"on {result.held_out} networks that were not used in the fit, mean error {result.error:.2%} (worst {result.worst:.2%}), "
            f"with one number for all kernels {result.single_error:.2%}; Kendall tau {result.tau:.3f}"
        )
    typer.echo(f"wrote {path}")


def _device(name: str) -> "Device | None":
    from sparsemod.targets import device

    return device(name, files=True, field="--device") if name else None


def _board(
    core: str, port: str, baud: int, timeout: float, project: Path | None, load: str, target: "Device | None"
) -> "Board":
    """Return the board of the options. Raises InvalidInput for options that do not go together."""
    from sparsemod.board import QemuBoard, SerialBoard
    from sparsemod.emulator import machine
    from sparsemod.errors import InvalidInput

    if load and (project is None or not port):
        raise InvalidInput("--load", load, "given with --port and --project")
    if not port and project is None:
        return QemuBoard(core, timeout=timeout)
    flash = None if target is None else target.flash
    return SerialBoard(
        port, machine(core).core, baud=baud, timeout=timeout, project=project, load=load, flash=flash
    )


def show(report: "BoardReport") -> None:
    """Print the layers, the verdict and the time."""
    from rich import box
    from rich.table import Table

    output = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("layer")
    for title in ("elements", "differing", report.unit):
        table.add_column(title, justify="right")
    for layer in report.layers:
        table.add_row(layer.name, f"{layer.elements:,}", f"{layer.differing:,}", f"{layer.time:,.0f}")
    output.print(
        f"{report.name} on {report.board}, kernels for {report.core}; {report.golden}", soft_wrap=True
    )
    output.print(table)
    output.print(report.verdict(), soft_wrap=True)
    milliseconds = "" if report.milliseconds is None else f" = {report.milliseconds:.4g} ms"
    output.print(
        f"{report.time:,.0f} {report.unit}{milliseconds} for one inference; {report.provenance}",
        soft_wrap=True,
    )


def _json(report: "BoardReport") -> str:
    import dataclasses
    import json

    facts = dataclasses.asdict(report)
    facts |= {
        "equal": report.equal,
        "verdict": report.verdict(),
        "time": report.time,
        "milliseconds": report.milliseconds,
    }
    return json.dumps(facts, indent=1)


COMMANDS = {"board": board, "calibrate-board": calibrate_board}
