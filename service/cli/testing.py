"""`sparsemod test`: retrain a network for longer and report its error on the test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    DeviceOption,
    ImportOption,
    ServerOption,
    connect,
    console,
    import_modules,
    metric_text,
)
from service.cli.folders import local_folder
from service.client.lookup import which

RetrainOption = Annotated[
    bool,
    typer.Option(
        "--retrain",
        help="Train on the training and the validation data together; the last epoch counts.",
    ),
]

if TYPE_CHECKING:
    from sparsemod.pipeline.local_run import LocalFolder
    from sparsemod.records import TrialRecord
    from sparsemod.spec.config_test import TestSettings
    from sparsemod.spec.experiment import ExperimentSpec


def test(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Id or name of an experiment on the server, the folder of a local run, or a config.cfg whose [TEST] names both."
        ),
    ],
    trial: Annotated[
        str | None,
        typer.Argument(
            help="The trial whose network to retrain: its index, or its arm's name such as 7_0. Default: `arm` of [TEST]."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs. Default: `epochs` of [TEST], else four times the trial's.", min=1),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Number of trainings, each with a different seed. Default: `seeds` of [TEST], else 3.", min=1
        ),
    ] = None,
    retrain: RetrainOption = False,
    device: DeviceOption = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Test mode: retrain a trial's network for longer, with several seeds; report the error on the test split.

    Do this once, for the network that you have chosen. Test results are biased once they influence a choice.
    """
    import json

    from rich import box
    from rich.table import Table

    from sparsemod.errors import InvalidInput
    from sparsemod.spec.config_test import arm_index
    from sparsemod.training.process import chosen_device, tune_process
    from sparsemod.units import METRICS

    import_modules(imports)
    folder, settings, cuda = _tested(experiment)
    arm = settings.arm if trial is None else arm_index(trial, "trial")
    if arm is None:
        raise InvalidInput(
            "trial", None, "the index of a trial, as an argument or as `arm` in [TEST] of a config.cfg"
        )
    number_of_seeds = seeds or settings.seeds or 3
    view: TrialRecord
    if folder is not None:
        identity: int | str = str(folder.folder)
        spec, view = folder.spec, folder.trial(arm)
    else:
        client = connect(server)
        stored = client.experiment(which(client, experiment).id)
        identity, spec, view = stored.id, stored.spec, client.trial(stored.id, arm)
    longer = epochs or settings.epochs or 4 * view.epochs
    tune_process(1)
    torch_device = chosen_device(device, cuda, "--device")
    results = [
        test_once(spec, view, longer, number, torch_device, imports=folder is not None, retrain=retrain)
        for number in range(number_of_seeds)
    ]
    summary = summarize(results)
    if json_output:
        document = {
            "experiment": identity,
            "trial": arm,
            "epochs": longer,
            "retrain": retrain,
            "parameters": view.candidate.parameters,
            "seeds": results,
            "summary": summary,
        }
        typer.echo(json.dumps(document, indent=1))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("seed")
    metric = spec.quality
    words = METRICS[metric].title
    table.add_column(f"test {words}", justify="right")
    other = "train" if retrain else "validation"
    table.add_column(f"{'training' if retrain else other} {words}", justify="right")
    for number, result in enumerate(results):
        table.add_row(str(number), metric_text(metric, result["test"]), metric_text(metric, result[other]))
    console().print(table)
    mean, error = summary["mean"], summary["standard_error"]
    spread = (
        ""
        if error is None
        else f" ± {metric_text(metric, error)} (standard error over {number_of_seeds} seeds)"
    )
    console().print(
        f"test {words} of the integer network {metric_text(metric, mean)}{spread}, {longer} epochs"
    )


def _tested(experiment: str) -> "tuple[LocalFolder | None, TestSettings, str | None]":
    """Return the run's folder (None for an experiment on a server), the settings of [TEST], and the device of `cuda_n`.

    Raises InvalidSpec for a `config.cfg` whose [TEST] does not describe the run, NotFound without a run.
    """
    from sparsemod.errors import InvalidInput
    from sparsemod.pipeline.local_run import LocalFolder
    from sparsemod.spec.config_test import TestSettings
    from sparsemod.spec.files import read_local
    from sparsemod.spec.plain import CONFIG_SUFFIXES

    path = Path(experiment)
    if path.suffix.lower() not in CONFIG_SUFFIXES or path.is_dir():
        return local_folder(experiment), TestSettings((path,)), None
    file = read_local(path)
    if file.test is None:
        raise InvalidInput("TEST", None, f"a section [TEST] with `arm`, the network to test, in {path}")
    folder = LocalFolder(file.test.folder())
    file.test.check(folder.spec)
    return folder, file.test, file.device


def test_once(
    spec: "ExperimentSpec",
    view: "TrialRecord",
    epochs: int,
    number: int,
    device: str,
    *,
    imports: bool,
    retrain: bool = False,
) -> dict[str, float]:
    """Retrain a trial's network with the seed of this number; return its seed, the task's metric on test and validation data.

    With `retrain`, the validation data are training data too, and the key `train` replaces `validation`. Raises BuildError when the training has no result.
    """
    from sparsemod.data import load
    from sparsemod.errors import BuildError
    from sparsemod.pipeline.problem import trial_seed
    from sparsemod.pipeline.trial import evaluate

    # Use new seeds: the search has already seen the result of the trial's seed.
    seed = trial_seed(view.seed, 1_000_000 + number)
    result = evaluate(
        spec, view.candidate, epochs=epochs, seed=seed, data=load(spec.dataset, targets=spec.task.targets), device=device,
        mode="final" if retrain else "test", imports=imports,
    )  # fmt: skip
    tested = [item for item in result.measurements if item.metric == spec.quality and item.on_test]
    if not tested:
        reason = result.failure.message if result.failure else f"it ended as {result.state}"
        raise BuildError(f"trial {view.index} has no test result: {reason}")
    return {
        "seed": seed,
        "test": tested[0].value,
        "train" if retrain else "validation": result.values()[spec.quality],
    }


def summarize(results: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the mean test error and its standard error over the seeds (None for one seed)."""
    import statistics

    errors = [result["test"] for result in results]
    spread = statistics.stdev(errors) / len(errors) ** 0.5 if len(errors) > 1 else None
    return {"mean": statistics.fmean(errors), "standard_error": spread}


COMMANDS = {"test": test}
