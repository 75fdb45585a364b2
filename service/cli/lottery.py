"""`sparsemod lottery`: iterative and one-shot magnitude pruning with resets, and random reinitializations."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import console, require_folder
from service.cli.local import one_thread

if TYPE_CHECKING:
    from sparsemod.studies.lottery_spec import LotterySpec

TICKETS = ("imp", "osp")
"""The methods that find tickets."""

REINITIALIZED = "random"
"""The control: the tickets' masks with fresh weights."""


def lottery(
    method: Annotated[
        str,
        typer.Argument(
            help="imp: iterative pruning; osp: one-shot; random: reinitialize the tickets of an earlier run.",
            metavar="imp|osp|random",
        ),
    ],
    preset: Annotated[
        str,
        typer.Argument(
            help="lenet-mnist, conv2-cifar10, conv4-cifar10, conv6-cifar10 or tiny-cifar10; for random, the folder of the earlier run.",
            metavar="PRESET|FOLDER",
        ),
    ],
    list_specs: Annotated[bool, typer.Option("--list", "-l", help="Print the specs and end.")] = False,
    plan_conv: Annotated[
        str | None, typer.Option(help="Plan of convolutions, such as 64-64-M-128B-A.")
    ] = None,
    plan_fc: Annotated[str | None, typer.Option(help="Widths of linear layers, such as 300-100.")] = None,
    activation: Annotated[str | None, typer.Option(help="relu or tanh.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of a dataset.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only this many samples.")] = None,
    nets: Annotated[int | None, typer.Option(help="Networks, or random ones for each ticket.", min=1)] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of pruning.", min=0)] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training.", min=1)] = None,
    conv_rate: Annotated[
        float | None, typer.Option(help="Share of a convolution's weights that a round removes.")
    ] = None,
    fc_rate: Annotated[float | None, typer.Option(help="The same of linear layers.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of Adam.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples in a step.", min=1)] = None,
    plot_step: Annotated[int | None, typer.Option(help="Iterations between two points.", min=1)] = None,
    rewind: Annotated[
        int | None, typer.Option(help="Return to the weights after this many iterations.", min=0)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order.", min=0)] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="A network from which the networks learn: of the zoo, or FOLDER#TRIAL, a trial of a local run."
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="With a teacher: share of the loss on its outputs. Default: 0.9.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="With a teacher: weight of attention transfer. Default: 0.")
    ] = None,
    early_stop: Annotated[
        bool, typer.Option("--early-stop/--no-early-stop", help="Store the weights of the early stops.")
    ] = True,
    net: Annotated[int, typer.Option(help="For random: the net whose tickets to reinitialize.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of results. Default: runs/lottery-METHOD-PRESET."),
    ] = None,
    device: Annotated[str, typer.Option(help="torch device for training: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Find lottery tickets: train, remove the smallest weights, reset the others, and train again.

    Writes histories, networks, tickets and plots. An interrupted run continues with the same command.
    """
    from sparsemod.errors import InvalidInput

    if method not in (*TICKETS, REINITIALIZED):
        raise InvalidInput("method", method, f"{', '.join(TICKETS)} or {REINITIALIZED}")
    if method == REINITIALIZED:
        _random(Path(preset), net, nets or 1, device, list_specs=list_specs)
        return
    from sparsemod.studies.lottery_spec import PRESETS, lottery_spec

    data: dict[str, Any] | None = None
    if dataset is not None or limit is not None:
        usual = PRESETS.get(preset, {}).get("dataset", {})
        data = {**usual, **({"name": dataset} if dataset else {}), **({"limit": limit} if limit else {})}
    given = {
        "dataset": data, "plan_conv": plan_conv, "plan_fc": plan_fc, "activation": activation, "net_count": nets,
        "prune_count": rounds, "epoch_count": epochs, "prune_rate_conv": conv_rate, "prune_rate_fc": fc_rate,
        "learning_rate": learning_rate, "batch_size": batch_size, "plot_step": plot_step, "rewind": rewind, "seed": seed,
        "save_early_stop": early_stop,
    }  # fmt: skip
    if teacher is not None:
        given["teacher"] = {
            "network": teacher,
            "alpha": 0.9 if alpha is None else alpha,
            "beta": 0.0 if beta is None else beta,
        }
    for option, value in (("--alpha", alpha), ("--beta", beta)):
        if value is not None and teacher is None:
            raise InvalidInput(option, value, "only with --teacher")
    spec = lottery_spec(preset, method, {key: value for key, value in given.items() if value is not None})
    if list_specs:
        _print(spec)
        return
    folder = out or Path("runs") / f"lottery-{method}-{preset}"
    with console(stderr=True).status("loading torch and the data"):
        one_thread()
        from sparsemod.studies.lottery import LotteryRun
        from sparsemod.training.process import require_device

        run = LotteryRun(
            spec,
            require_folder(folder, "--out"),
            device=require_device(device, "--device"),
            report=lambda line: print(line, flush=True),
        )
    histories = run.run()
    _write(run, histories, None)


def _random(folder: Path, net: int, count: int, device: str, *, list_specs: bool) -> None:
    one_thread()
    from sparsemod.report.lottery_plots import load_histories
    from sparsemod.studies.lottery import LotteryRun
    from sparsemod.training.process import require_device

    run = LotteryRun.of_folder(
        folder, device=require_device(device, "--device"), report=lambda line: print(line, flush=True)
    )
    if list_specs:
        _print(run.spec)
        return
    random = run.random(net, count)
    path = run.file("histories.npz")
    _write(run, load_histories(path) if path.exists() else random, random, f"-random{net}")


def _print(spec: "LotterySpec") -> None:
    """Print a spec with the network's parameters and the shares of weights that stay."""
    from sparsemod.data.source import declared
    from sparsemod.studies.lottery import ladder, network, shares

    typer.echo(json.dumps(json.loads(spec.model_dump_json()), indent=1))
    info = declared(spec.dataset.name)
    if info is None:
        return
    import torch

    with torch.device("meta"):
        module = network(spec, info)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    stays = ", ".join(f"{share:.4f}" for share in shares(ladder(spec, module)))
    typer.echo(f"parameters: {parameters:,}; weights that stay: {stays}")


def _write(run: Any, histories: Any, random: Any, suffix: str = "") -> None:
    """Write the plots of an experiment, and the layers of its first network as images."""
    from safetensors.numpy import load_file

    from sparsemod.files import write_atomically
    from sparsemod.report.layer_images import plot_conv, plot_fc
    from sparsemod.report.lottery_plots import lottery_figure
    from sparsemod.report.prunability import figure_bytes

    figure = lottery_figure(f"{run.spec.name}, {run.spec.method}", histories, random)
    for kind in ("svg", "pdf"):
        write_atomically(run.file(f"plots{suffix}.{kind}"), figure_bytes(figure, kind))
    network = run.file("net0.safetensors")
    if network.exists() and not suffix:
        weights = load_file(network)
        for name, image in {**plot_fc(weights), **plot_conv(weights)}.items():
            write_atomically(
                run.file(f"layer-{name.removesuffix('.weight')}.png"), figure_bytes(image, "png")
            )
    typer.echo(f"results: {run.folder}")


COMMANDS = {"lottery": lottery}
