"""A real search problem that costs nothing to ask: small CNNs on scikit-learn's digits, trained once into a table.

    python benchmarks/digits_table.py --build [--networks 1000]

The space is the family `cnn` with up to two blocks of one layer: 11 mixed parameters, some conditional, the learning rate among them. Each row
of data/digits_cnn.csv.gz is one network, trained for 5 epochs by `sparsemod.training`, and its error on the validation split. `Table.error`
interpolates: extremely randomized trees (300, scikit-learn) fitted to the logit of the error; their cross-validated R2 is printed by --build.
Trees, because a Gaussian process would be the very model that some of the contenders search with.

The costs are exact and in closed form, equal for all contenders: bytes of int8 weights and int32 biases, the largest input + output of an
operator in bytes, and multiply-adds at 100 million a second (ms).
"""

import argparse
import csv
import gzip
import io
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparsemod.networks.cnn import Cnn
from sparsemod.networks.cnn_plan import plan
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Fixed, Real
from sparsemod.space.space import Space

FILE = Path(__file__).parent / "data" / "digits_cnn.csv.gz"
INFO = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
FAMILY = Cnn(max_blocks=2, max_layers=1, max_filters=64, max_kernel=5, max_dense=1, max_dense_width=64)
SPACE: Space = FAMILY.space(INFO).override(
    {
        "b1_pool": Fixed("b1_pool", False),
        "b2_pool": Fixed("b2_pool", False),
        "dropout": Fixed("dropout", 0.0),
        "learning_rate": Real("learning_rate", 1e-4, 1e-1, log=True),
    }
)
EPOCHS = 5
REFERENCE = {"error": 0.5, "model_size": 6_000.0, "working_memory": 1_500.0, "latency": 0.3}


def costs(parameters: Mapping[str, Value]) -> dict[str, float]:
    """Exact costs of a network of the space."""
    planned = plan(parameters, INFO)
    channels, height, width = INFO.shape
    size = macs = peak = 0
    area = height * width
    for layers, _ in planned.blocks:
        for layer in layers:
            now = layer.size[0] * layer.size[1]
            if layer.type == "down":
                peak = max(peak, channels * (area + now))
            taps = layer.kernel**2
            if layer.type == "separable":
                size += channels * (taps + 4) + layer.filters * (channels + 4)
                macs += now * channels * (taps + layer.filters)
                peak = max(peak, 2 * channels * now)
            else:
                size += layer.filters * (channels * taps + 4)
                macs += now * channels * taps * layer.filters
            peak = max(peak, now * (channels + layer.filters))
            channels, area = layer.filters, now
    features = planned.features
    peak = max(peak, channels * area + features)
    for units in (*planned.dense, INFO.classes):
        size += units * (features + 4)
        macs += units * features
        peak = max(peak, features + units)
        features = units
    return {"model_size": float(size), "working_memory": float(peak), "latency": macs / 1e5}


class Table:
    """The error of any network of the space, interpolated from the trained ones."""

    def __init__(self, file: Path = FILE) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        with gzip.open(file, "rt", newline="") as stream:
            rows = list(csv.DictReader(stream))
        self.parameters = [_read(row) for row in rows]
        self.errors = np.array([float(row["error"]) for row in rows])
        self._x = np.array([features(p) for p in self.parameters])
        self._y = _logit(self.errors)
        self._trees = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0).fit(self._x, self._y)
        self._known: dict[str, float] = {}

    def error(self, parameters: Mapping[str, Value]) -> float:
        """Validation error in [0, 1]."""
        key = SPACE.key(parameters)
        if key not in self._known:
            logit = float(self._trees.predict(features(parameters)[None, :])[0])
            self._known[key] = 1.0 / (1.0 + math.exp(-logit))
        return self._known[key]

    def quality(self) -> float:
        """R2 of the interpolation in ten-fold cross-validation, on the logit."""
        from sklearn.base import clone
        from sklearn.model_selection import KFold, cross_val_score

        folds = KFold(10, shuffle=True, random_state=0)
        return float(cross_val_score(clone(self._trees), self._x, self._y, cv=folds).mean())


def features(parameters: Mapping[str, Value]) -> np.ndarray:
    """The space's features and, for inactive parameters, -1, which trees can split off; beside them the logarithms of the costs."""
    row = [-1.0 if p.name not in parameters else float(p.unit(parameters[p.name])) for p in SPACE.free]
    return np.array([*row, *np.log(list(costs(parameters).values()))])


def build(networks: int, file: Path = FILE) -> None:
    """Trains the networks, one after the other, and writes the table."""
    import torch

    from sparsemod.data import load
    from sparsemod.search import sobol
    from sparsemod.spec.parts import DatasetSpec
    from sparsemod.spec.training import TrainingSpec
    from sparsemod.training import Resident, evaluate, train

    torch.set_num_threads(1)
    data = Resident.of(load(DatasetSpec(name="digits")))
    out = io.StringIO()
    writer = csv.DictWriter(out, [*(p.name for p in SPACE.free), "error"])
    writer.writeheader()
    begin = time.perf_counter()
    for i, parameters in enumerate(sobol.candidates(SPACE, 12345, networks)):
        torch.manual_seed(i)
        module = FAMILY.build({k: v for k, v in parameters.items() if k != "learning_rate"}, INFO)
        settings = TrainingSpec(learning_rate=float(parameters["learning_rate"]), batch_size=64)
        train(module, data, settings, epochs=EPOCHS, seed=i)
        _, error = evaluate(module, data.validation)
        row = {k: v for k, v in parameters.items() if k in writer.fieldnames}
        writer.writerow(
            {**row, "learning_rate": f"{parameters['learning_rate']:.6g}", "error": f"{error:.5f}"}
        )
        if i % 100 == 99:
            print(f"{i + 1} networks, {time.perf_counter() - begin:.0f} s", flush=True)
    file.parent.mkdir(exist_ok=True)
    # No time stamp: equal tables are equal files.
    file.write_bytes(gzip.compress(out.getvalue().encode(), mtime=0))
    table = Table(file)
    print(
        f"{file}: {len(table.errors)} networks, {file.stat().st_size} bytes, cross-validated R2 {table.quality():.3f}"
    )


def _read(row: Mapping[str, str]) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for p in SPACE.free:
        text = row[p.name]
        if text != "":
            given[p.name] = (
                text if p.type == "categorical" else float(text) if p.type == "real" else int(text)
            )
    return SPACE.validate(SPACE.complete(given))


def _logit(errors: np.ndarray) -> np.ndarray:
    clipped = np.clip(errors, 0.002, 0.998)
    return np.log(clipped / (1.0 - clipped))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", action="store_true", help="train the networks and write the table")
    parser.add_argument("--networks", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.networks)
    else:
        print(f"{len(Table().errors)} networks, cross-validated R2 {Table().quality():.3f}")
