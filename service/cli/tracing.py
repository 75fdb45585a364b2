"""`sparsemod trace`: the memory of one training iteration, by training rule."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import ImportOption, console, import_modules, require_folder
from service.cli.local import SpecArgument


def trace(
    spec: SpecArgument,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="A training rule; several are compared. Default: the spec's rule."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples in the batch. Default: the spec's.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="torch device of the iteration: cpu, cuda, cuda:1.")] = "cpu",
    predict: Annotated[
        bool, typer.Option("--predict", help="Derive the sizes from shapes, without memory or a device.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--output", "--out", "-o", help="Folder for the traces, the plot and the graphs."),
    ] = None,
    imports: ImportOption = None,
) -> None:
    """Trace the memory of one training iteration of the spec's default candidate, for each rule.

    Prints the peak, what it is beyond parameters and other existing tensors, and the operation that reaches it. With
    --output: RULE.txt has a line for each change, `microseconds total_bytes delta_bytes operation`, RULE.svg the graph of
    these operations, and memory.svg the plot.
    """
    from rich import box
    from rich.table import Table

    from sparsemod.spec.files import read_local

    import_modules(imports)
    experiment = read_local(spec).spec
    from sparsemod.data import load
    from sparsemod.pipeline.memory_plot import memory_figure
    from sparsemod.pipeline.operation_graph import graph_figure
    from sparsemod.pipeline.problem import Problem
    from sparsemod.pipeline.screening import build
    from sparsemod.pipeline.training_memory import by_rule
    from sparsemod.training.process import require_device
    from sparsemod.units import METRICS

    chosen_device = None if predict else require_device(device, "--device")
    problem = Problem.of(
        experiment, load(experiment.dataset, targets=experiment.task.targets, imports=True).info, imports=True
    )
    values = problem.space.complete({})
    settings = problem.training(values)
    if batch_size is not None:
        settings = settings.model_copy(update={"batch_size": batch_size})
    module = build(problem, values, 0)
    traces = by_rule(module, problem.info, settings, rule or [settings.rule.name], chosen_device)
    show = METRICS["training_memory"].show
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rule")
    for title in ("peak", "beyond existing", "parameters", "feedback"):
        table.add_column(title, justify="right")
    table.add_column("reached by")
    for name, found in traces.items():
        parts = [found.baseline.get(part, 0) for part in ("parameters", "feedback")]
        table.add_row(name, show(found.peak), show(found.beyond), *map(show, parts), found.peak_operation)
    console().print(table)
    if out is not None:
        folder = require_folder(out, "--output")
        layers = {name: type(part).__name__ for name, part in module.named_modules()}
        for name, found in traces.items():
            (folder / f"{name}.txt").write_text(found.text(), encoding="utf-8")
            (folder / f"{name}.svg").write_text(graph_figure(found, layers), encoding="utf-8")
        (folder / "memory.svg").write_bytes(memory_figure(traces))
        typer.echo(f"{folder}: {', '.join(f'{name}.txt, {name}.svg' for name in traces)}, memory.svg")


COMMANDS = {"trace": trace}
