"""Search problems whose trainings were done once, so that asking costs nothing: networks for MNIST and for Japanese Vowels.

    python benchmarks/tables.py mnist --build        # resumable: an interrupted build continues
    python benchmarks/tables.py vowels --build
    python benchmarks/tables.py mnist                # rows, seeds, noise, quality of the interpolation

Each row of data/NAME.csv.gz is one whole trial of this product (`sparsemod.pipeline.trial.evaluate`): training, int8 quantization, the error on
the validation split. Every tenth network is trained with three seeds. The costs are the product's own, computed from the network's capture and
exact: bytes of the deployed constants, bytes of the arena, and the predicted time on a Cortex-M4.

- mnist: family `cnn`, one or two blocks of one or two layers, 4,000 images, 5 epochs.
- vowels: family `rnn`, one or two layers of GRU or LSTM with 4 to 40 units, in one direction or both, 14 epochs.

`Table.error` interpolates by extremely randomized trees on the logit of the error, as benchmarks/digits_table.py does.
"""

import argparse
import csv
import gzip
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sparsemod.data import Dataset, load
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import Screen
from sparsemod.quality import error_of, logit
from sparsemod.records import Candidate, DataInfo, TrialState, Value
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec

DATA = Path(__file__).parent / "data"
COSTS = ("model_size", "working_memory", "latency")
SEVERAL, SEEDS = 10, 3
"""Every tenth network has three seeds."""


@dataclass(frozen=True)
class Tabled:
    """A problem: its spec without rounds, the data's shape, the epochs of a training, reference point and budgets of the benchmark."""

    name: str
    described: Mapping[str, Any]
    info: DataInfo
    epochs: int
    reference: Mapping[str, float]
    budgets: Mapping[str, Mapping[str, float]]

    @property
    def file(self) -> Path:
        return DATA / f"{self.name}.csv.gz"

    @cached_property
    def spec(self) -> ExperimentSpec:
        return ExperimentSpec.parse(
            {
                **self.described,
                "objectives": ["error", *COSTS],
                "measure": {"device": "model"},
            }
        )

    @cached_property
    def problem(self) -> Problem:
        return Problem.of(self.spec, self.info)

    @property
    def space(self) -> Space:
        return self.problem.space

    @cached_property
    def _screen(self) -> Screen:
        return Screen(self.problem)

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        return {}

    def costs(self, parameters: Mapping[str, Value]) -> dict[str, float]:
        """Exact costs of a network of the space."""
        key = self.space.key({k: v for k, v in parameters.items() if k != "learning_rate"} | self._rate)
        if key not in self._costs:
            found = self._screen.costs(parameters)
            self._costs[key] = {name: found[name] for name in COSTS}
        return self._costs[key]

    @cached_property
    def _rate(self) -> dict[str, Value]:
        return {"learning_rate": self.space.parameter("learning_rate").default}

    def data(self) -> Dataset:
        return load(self.spec.dataset, targets=self.spec.task.targets)


MNIST = Tabled(
    "mnist",
    {
        "dataset": {"name": "mnist", "limit": 6000, "splits": {"validation": 0.3333}},
        "network": {
            "family": "cnn",
            "options": {"max_blocks": 2, "max_layers": 2, "max_filters": 20, "max_kernel": 5, "max_dense": 1, "max_dense_width": 32},
        },
        "space": {"dropout": 0.0, "learning_rate": {"low": 1e-3, "high": 5e-2, "log": True}},
        "training": {"batch_size": 64},
    },
    DataInfo(name="mnist", shape=(1, 28, 28), classes=10),
    5,
    {"error": 0.5, "model_size": 10_000.0, "working_memory": 8_000.0, "latency": 6.0},
    {"free": {}, "budget": {"model_size": 2_500.0}, "tight": {"error": 0.06, "model_size": 2_500.0}},
)  # fmt: skip

VOWELS = Tabled(
    "vowels",
    {
        "dataset": {"name": "vowels", "splits": {"validation": 0.4}},
        "network": {
            "family": "rnn",
            "options": {"max_layers": 2, "min_units": 4, "max_units": 40, "max_dense": 1, "max_dense_width": 32, "max_dropout": 0.3},
        },
        "space": {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}},
        "training": {"batch_size": 32},
    },
    DataInfo(name="vowels", shape=(29, 12), classes=9, layout="time-features", sequences=True),
    14,
    {"error": 0.6, "model_size": 16_000.0, "working_memory": 3_000.0, "latency": 12.0},
    {"free": {}, "budget": {"model_size": 2_500.0}, "tight": {"error": 0.06, "model_size": 2_500.0}},
)  # fmt: skip

PROBLEMS = {one.name: one for one in (MNIST, VOWELS)}


class Table:
    """The error of any network of the problem's space, interpolated from the trained ones; `rows`: parameters, seed, error."""

    def __init__(self, problem: Tabled) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._problem = problem
        with gzip.open(problem.file, "rt", newline="") as stream:
            self.rows = [
                (read(problem, row), int(row["seed"]), float(row["error"])) for row in csv.DictReader(stream)
            ]
        self._x = np.array([features(problem, parameters) for parameters, _, _ in self.rows])
        self._y = logit(np.array([error for _, _, error in self.rows]))
        self._trees = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0).fit(self._x, self._y)
        self._known: dict[str, float] = {}

    def error(self, parameters: Mapping[str, Value]) -> float:
        """Validation error in [0, 1]."""
        key = self._problem.space.key(parameters)
        if key not in self._known:
            predicted = self._trees.predict(features(self._problem, parameters)[None, :])
            self._known[key] = float(error_of(predicted)[0])
        return self._known[key]

    def quality(self) -> float:
        """R2 of the interpolation in ten-fold cross-validation over networks, on the logit."""
        from sklearn.base import clone
        from sklearn.model_selection import GroupKFold, cross_val_score

        keys = [self._problem.space.key(parameters) for parameters, _, _ in self.rows]
        groups = np.unique(keys, return_inverse=True)[1]
        return float(
            cross_val_score(clone(self._trees), self._x, self._y, groups=groups, cv=GroupKFold(10)).mean()
        )

    def noise(self) -> float:
        """Standard deviation of the logit between seeds of one network, pooled."""
        by_key: dict[str, list[float]] = {}
        for (parameters, _, _), y in zip(self.rows, self._y, strict=True):
            by_key.setdefault(self._problem.space.key(parameters), []).append(float(y))
        several = [np.var(ys, ddof=1) for ys in by_key.values() if len(ys) > 1]
        return math.sqrt(float(np.mean(several)))


def features(problem: Tabled, parameters: Mapping[str, Value]) -> np.ndarray:
    """The space's features and, for inactive parameters, -1, which trees can split off; beside them the logarithms of the costs."""
    row = [
        -1.0 if p.name not in parameters else float(p.unit(parameters[p.name])) for p in problem.space.free
    ]
    return np.array([*row, *np.log(list(problem.costs(parameters).values()))])


def read(problem: Tabled, row: Mapping[str, str]) -> dict[str, Value]:
    """The parameters of a row of the table."""
    given: dict[str, Value] = {}
    for p in problem.space.free:
        text = row[p.name]
        if text == "":
            continue
        if p.type == "categorical":
            given[p.name] = next(v for v in p.values if str(v) == text)  # type: ignore[attr-defined]
        else:
            given[p.name] = float(text) if p.type == "real" else int(text)
    return problem.space.validate(problem.space.complete(given))


def build(problem: Tabled, trainings: int, folder: Path) -> None:
    """Trains until the table has `trainings` rows. Finished rows are in `folder`/NAME.csv; a second call continues after them."""
    from sparsemod.errors import BuildError
    from sparsemod.search import sobol
    from sparsemod.training.process import tune_process

    tune_process(1)
    data, space = problem.data(), problem.space
    columns = [*(p.name for p in space.free), "seed", "error"]
    part = folder / f"{problem.name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    done = len(list(csv.DictReader(part.open(newline="")))) if part.exists() else 0
    count = built = 0
    limits = {m: problem.reference[m] for m in COSTS}
    with part.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        if done == 0:
            writer.writeheader()
        begin = time.process_time()
        for drawn in sobol.candidates(space, 12345, 100 * trainings):
            parameters = {**drawn, "learning_rate": float(f"{drawn['learning_rate']:.6g}")}
            try:
                costs = problem.costs(parameters)
            except BuildError:
                continue
            # Nobody searches beyond the reference point; the table's trainings are spent inside.
            if any(costs[m] > limit for m, limit in limits.items()):
                continue
            seeds = range(SEEDS if built % SEVERAL == 0 else 1)
            built += 1
            for seed in seeds:
                count += 1
                if count <= done:
                    continue
                candidate = Candidate(parameters=parameters, origin="manual", round="manual")
                result = evaluate_one(problem, candidate, seed, data)
                row = {
                    k: f"{v:.6g}" if isinstance(v, float) else v
                    for k, v in parameters.items()
                    if k in columns
                }
                writer.writerow({**row, "seed": seed, "error": f"{result:.5f}"})
                stream.flush()
                if count % 50 == 0:
                    print(f"{count} trainings, {time.process_time() - begin:.0f} CPU seconds", flush=True)
            if count >= trainings:
                break
    # No time stamp: equal tables are equal files.
    problem.file.write_bytes(gzip.compress(part.read_bytes().replace(b"\r\n", b"\n"), mtime=0))


def evaluate_one(problem: Tabled, candidate: Candidate, seed: int, data: Dataset) -> float:
    """The error of a training; that of guessing for one that diverges."""
    from sparsemod.pipeline.trial import evaluate

    result = evaluate(problem.spec, candidate, epochs=problem.epochs, seed=seed, data=data)
    if result.state is not TrialState.COMPLETED:
        return 1.0 - 1.0 / float(problem.info.classes or 1)
    return result.values()["error"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(PROBLEMS))
    parser.add_argument("--build", action="store_true", help="train the networks and write the table")
    parser.add_argument("--trainings", type=int, default=600)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs") / "tables", help="rows of an unfinished build"
    )
    arguments = parser.parse_args()
    problem = PROBLEMS[arguments.name]
    if arguments.build:
        build(problem, arguments.trainings, arguments.folder)
    table = Table(problem)
    errors = np.array([error for _, _, error in table.rows])
    networks = len({problem.space.key(parameters) for parameters, _, _ in table.rows})
    print(
        f"{problem.name}: {len(errors)} trainings of {networks} networks, errors {errors.min():.3f} to {errors.max():.3f}, deviation of the logit between "
        f"seeds {table.noise():.2f}, cross-validated R2 {table.quality():.3f}, {problem.file.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
