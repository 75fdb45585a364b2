"""The search of `sparsemod compress MODEL`: on this machine, or on a server that gets the model."""

from collections.abc import Sequence
from pathlib import Path

import typer

from service.cli.common import console, metric_text
from service.cli.local import follow, one_thread
from service.cli.measuring import is_attribute, read


def model_search(
    model: str,
    data: Path | None,
    budgets: Sequence[str],
    *,
    methods: Sequence[str],
    trials: int,
    epochs: int,
    target: str,
    out: Path | None,
    device: str,
    server: str | None,
) -> None:
    """Search for pruned networks within the budgets that start from a model's weights.

    `server`: its address, None to run here. Raises InvalidInput without data, NotFound for a file that does not exist.
    """
    from sparsemod.errors import InvalidInput, NotFound
    from sparsemod.export.names import model_name

    if not is_attribute(model) and not Path(model).is_file():
        raise NotFound("model file", model, "this folder; a trial is named as EXPERIMENT TRIAL")
    if data is None:
        raise InvalidInput("--data", None, "samples with labels, .npz with x and y: training needs them")
    with console(stderr=True).status("reading the model"):
        one_thread()
        from sparsemod.pipeline.local_run import LocalRun
        from sparsemod.pipeline.model_data import dataset_of
        from sparsemod.pipeline.model_report import integer_network, report_on
        from sparsemod.pipeline.model_search import search_spec, store_module
        from sparsemod.training.process import require_device

        source, found, samples = read(model, "", data)
        network, notes = integer_network(found, samples)
        reference = report_on(found, network, target, samples=samples, notes=notes)
        name = f"{found.name} compressed"
        folder = out or Path("runs") / name.replace(" ", "-")
        path = store_module(found, folder) if is_attribute(model) else Path(model)
        settings = {"trials": trials, "epochs": epochs, "target": target, "name": name}
        spec = search_spec(
            found, str(path.resolve()), dataset_of(data, found.shape), methods, budgets, **settings
        )  # type: ignore[arg-type]
        local = LocalRun(spec, folder, device=require_device(device, "--device"))
    costs = {m.metric: m.value for m in reference.measurements}
    words = "  ".join(
        f"{metric} {metric_text(metric, costs[metric])}" for metric in ("flash", "ram", "latency")
    )
    error = "" if reference.error is None else f"error {metric_text('error', reference.error)}  "
    typer.echo(f"{model_name(found.name)} as it is: {error}{words}")
    (folder / "reference.json").write_text(reference.model_dump_json(indent=1) + "\n", encoding="utf-8")
    follow(local, False)
