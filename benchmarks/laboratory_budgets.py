"""Substitutes at three budgets of parameters, with and without a teacher and scaled weight decay, after int8.

    python benchmarks/laboratory_budgets.py digits --out runs/budgets
    python benchmarks/laboratory_budgets.py mnist cifar10 --out runs/budgets
    python benchmarks/laboratory_budgets.py digits mnist cifar10 --out runs/budgets --report

Each budget is a share of the parameters of a narrow wide ResNet. `sparsemod count --budget` finds the setting of each
substitute in the same way. Each form is trained five times. Error, flash, RAM and instructions are those of the int8
network, the costs as predicted for a Cortex-M4. FOLDER holds the runs, which an interrupted benchmark continues. --report
only prints the tables of finished runs. Images come from $SPARSEMOD_DATA; those of MNIST and CIFAR-10 are halved: each pixel
is the mean of 2 x 2.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from sparsemod.data import Arrays
from sparsemod.data.source import dataset as source
from sparsemod.data.sources.cifar10 import cifar10
from sparsemod.data.sources.mnist import mnist
from sparsemod.networks.zoo import network
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.substitutes import SUBSTITUTES, create
from sparsemod.substitutes.budget import fit
from sparsemod.substitutes.costs import parameters_of
from sparsemod.training.process import tune_process

REPETITIONS = 5
TEACHER = "wrn-16-1"
TITLES = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG)"}


SHARES = (0.5, 0.25, 0.15)
VARIED = (0.25, 1.0, 0.5, 0.15)
"""The order of the budgets with a teacher and with the other decay."""


@source("mnist-half", shape=(1, 14, 14), classes=10)
def mnist_half(root: Path | None) -> Arrays:
    """Return MNIST with 14 x 14 pixels."""
    return halved(mnist(root))


@source("cifar10-half", shape=(3, 16, 16), classes=10)
def cifar10_half(root: Path | None) -> Arrays:
    """Return CIFAR-10 with 16 x 16 pixels."""
    return halved(cifar10(root))


def halved(arrays: Arrays) -> Arrays:
    """Return images (N, C, H, W) of which each pixel is the rounded mean of 2 x 2."""

    def half(images: NDArray[Any]) -> NDArray[Any]:
        number, channels, height, width = images.shape
        pixels = images.reshape(number, channels, height // 2, 2, width // 2, 2)
        return ((pixels.sum((3, 5), np.uint16) + 2) // 4).astype(images.dtype)

    return replace(arrays, x=half(arrays.x), test_x=half(arrays.test_x))


@dataclass(frozen=True)
class Size:
    """Dataset, network, samples, share of them for validation, epochs, batch size, weight of attention transfer."""

    dataset: str
    shape: tuple[int, int, int]
    network: str
    limit: int
    validation: float
    epochs: int
    batch: int
    beta: float


SIZES = {
    "digits": Size("digits", (1, 8, 8), "wrn-10-0.5", 1797, 0.25, 5, 64, 10.0),
    "mnist": Size("mnist-half", (1, 14, 14), "wrn-10-0.5", 800, 0.4, 6, 16, 10.0),
    "cifar10": Size("cifar10-half", (3, 16, 16), "wrn-10-0.5", 800, 0.4, 6, 16, 10.0),
}


@dataclass(frozen=True)
class Chosen:
    """A substitute at a budget: parameters of its network, and whether they are within 1 % of the budget."""

    name: str
    share: float
    parameters: float
    met: bool


@cache
def chosen(dataset: str) -> list[Chosen]:
    """Return the setting of every substitute at every budget; equal settings of two budgets count at the nearer one."""
    size = SIZES[dataset]
    cost = parameters_of(network(size.network).build(size.shape, 10))
    whole, found = cost(create("Conv")), {}
    for share in SHARES:
        for kind in SUBSTITUTES.names():
            if SUBSTITUTES.get(kind).setting is None:
                continue
            one = fit(create(kind, free=True), share * whole, cost)
            name, off = str(one.substitute), abs(math.log(one.cost / one.target))
            if one.cost < whole and (name not in found or off < found[name][0]):
                found[name] = (off, Chosen(name, share, one.cost, one.met))
    return [one for _, one in found.values()] + [
        Chosen("none", 1.0, whole, True),
        Chosen(
            "Sep",
            min(SHARES, key=lambda s: abs(math.log(cost(create("Sep")) / whole / s))),
            cost(create("Sep")),
            False,
        ),
    ]


def names_at(dataset: str, share: float) -> list[str]:
    """Return the substitutes of a budget."""
    return [one.name for one in chosen(dataset) if one.share == share]


def specs(dataset: str, size: Size) -> Iterator[tuple[str, ExperimentSpec]]:
    """Yield title and spec of the runs: each a grid over substitutes, with repetitions."""
    teacher = {"network": TEACHER, "epochs": 2 * size.epochs, "alpha": 0.0, "beta": size.beta}
    runs = [(f"alone {share:g}", names_at(dataset, share), {}) for share in (1.0, *SHARES)]
    for share in VARIED:
        names = names_at(dataset, share)
        free = [name for name in names if name != "none" and create(name).setting]
        scaled = [name for name in free if create(name).scales_decay]
        unscaled = [name for name in free if not create(name).scales_decay]
        runs += [
            (f"teacher {share:g}", names, {"teacher": teacher}),
            (f"unscaled {share:g}", scaled, {"scale_decay": "off"}),
            (f"scaled {share:g}", unscaled, {"scale_decay": "on"}),
        ]
    for title, names, training in runs:
        if not names:
            continue
        yield title, ExperimentSpec.parse(
            {
                "name": f"{dataset} {title}",
                "dataset": {
                    "name": size.dataset, "limit": size.limit,
                    "splits": {"validation": size.validation, **({"test": 0.01} if dataset == "digits" else {})},
                },
                "measure": {"device": "model"},
                "network": {
                    "family": "zoo", "options": {"networks": size.network},
                    "substitutes": list(dict.fromkeys(["none", *names])),
                },
                "source": {
                    "name": "grid", "values": {"substitute": names}, "repetitions": REPETITIONS, "epochs": size.epochs,
                },
                "objectives": ["error", "flash", "ram", "latency"],
                "training": {
                    "preset": "wrn", "schedule": "cosine", "learning_rate": 0.05, "batch_size": size.batch,
                    "augmentation": [], **training,
                },
            }
        )  # fmt: skip


def run(dataset: str, folder: Path, only: list[str] | None) -> None:
    """Run what is missing of a dataset, or of its runs `only`."""
    for title, spec in specs(dataset, SIZES[dataset]):
        if only and title not in only:
            continue
        began, cpu = time.perf_counter(), time.process_time()
        local = LocalRun(spec, folder / dataset / title)
        local.run()
        words = f"{dataset} {title}: {len(local.trials)} trials"
        print(
            f"{words}, {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} CPU s", flush=True
        )


def read(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Return substitute -> metrics of its completed trials in a run."""
    found: dict[str, list[dict[str, float]]] = {}
    if not folder.exists():
        return found
    for trial in LocalFolder(folder).trials:
        if trial.record.state is TrialState.COMPLETED:
            found.setdefault(str(trial.candidate.parameters["substitute"]), []).append(trial.record.values())
    return found


def read_all(folder: Path, *kinds: str) -> dict[str, list[dict[str, float]]]:
    """Return the same for all runs of some kinds: alone, teacher, unscaled, scaled."""
    found: dict[str, list[dict[str, float]]] = {}
    for kind in kinds:
        for place in sorted(folder.glob(f"{kind} *")):
            found |= read(place)
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return mean(values), math.nan
    return mean(values), float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def difference(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return mean(second) - mean(first) and half the width of its 95 % interval, by Welch's method."""
    parts = [stdev(values) ** 2 / len(values) for values in (first, second)]
    total = sum(parts)
    freedom = (
        total**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (first, second), strict=True))
        if total
        else 1
    )
    return mean(second) - mean(first), float(student.ppf(0.975, freedom)) * math.sqrt(total)


def percent(value: tuple[float, float], sign: bool = False) -> str:
    """Return mean and interval in percent."""
    return f"{100 * value[0]:{'+' if sign else ''}.1f} ± {100 * value[1]:.1f}"


def report(dataset: str, folder: Path) -> None:
    """Print the table of a dataset as Markdown: a line for each substitute and budget."""
    alone, taught, changed = (
        read_all(folder / dataset, *kinds) for kinds in (("alone",), ("teacher",), ("unscaled", "scaled"))
    )
    print(f"\n{TITLES[dataset]}\n")
    print("| substitute | parameters | error, % | teacher | other decay | flash, KB | instructions, k |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for one in sorted(
        chosen(dataset), key=lambda o: (-o.share, mean(r["error"] for r in alone.get(o.name, [{"error": 9}])))
    ):
        if one.name not in alone:
            continue
        errors = [row["error"] for row in alone[one.name]]
        others = [
            percent(difference(errors, [row["error"] for row in rows[one.name]]), sign=True)
            if one.name in rows
            else ""
            for rows in (taught, changed)
        ]
        row = alone[one.name][0]
        print(
            f"| `{one.name}`{'' if one.met else ' (nearest)'} | {one.parameters:,.0f} | {percent(interval(errors))} | "
            f"{' | '.join(others)} | {row['flash'] / 1024:.1f} | {row['instructions'] / 1000:,.0f} |"
        )


def main() -> None:
    """Run the datasets, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", nargs="+", choices=list(SIZES))
    parser.add_argument("--out", type=Path, default=Path("runs/laboratory-budgets"))
    parser.add_argument(
        "--runs", help="only these, with commas: alone 0.25, teacher 0.25, unscaled 0.25, scaled 0.25"
    )
    parser.add_argument("--report", action="store_true", help="only print the tables")
    options = parser.parse_args()
    tune_process(1)
    for dataset in options.datasets:
        if not options.report:
            run(dataset, options.out, options.runs and options.runs.split(","))
        report(dataset, options.out)


if __name__ == "__main__":
    main()
