"""Recorded learning curves: small dense networks on scikit-learn's digits, trained once for 16 epochs each.

    python benchmarks/digits_curves.py --build [--networks 60]

Each row of data/digits_curves.csv.gz is one network in the space of the family `mlp`, and its error on 270 validation samples after each
epoch. A plain numpy loop trains them with Adam and batches of 64 on 1,257 samples, as the default training does, in milliseconds. The learning
rate, from 3e-4 to 3e-2, follows the default schedule, half a cosine over the 16 epochs. The costs are exact and in closed form: bytes of int8
weights and int32 biases, the largest input + output of a layer in bytes, and multiply-adds at 100 million a second (ms).
"""

import argparse
import csv
import gzip
import io
import math
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from sparsemod.networks.mlp import Mlp
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Fixed, Real
from sparsemod.space.space import Space

FILE = Path(__file__).parent / "data" / "digits_curves.csv.gz"
EPOCHS, BATCH = 16, 64
INFO = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
FAMILY = Mlp(max_layers=2, max_width=64)
SPACE: Space = FAMILY.space(INFO).override(
    {"dropout": Fixed("dropout", 0.0), "learning_rate": Real("learning_rate", 3e-4, 3e-2, log=True)}
)


def widths_of(parameters: Mapping[str, Value]) -> list[int]:
    return [int(value) for name, value in sorted(parameters.items()) if name.endswith("_width")]


def costs(parameters: Mapping[str, Value]) -> dict[str, float]:
    """Exact costs of a network of the space."""
    layers = list(pairwise([64, *widths_of(parameters), INFO.classes]))
    return {
        "model_size": float(sum(a * b + 4 * b for a, b in layers)),
        "working_memory": float(max(a + b for a, b in layers)),
        "latency": sum(a * b for a, b in layers) / 1e5,
    }


class Curves:
    """The recorded trainings: `parameters` and `costs` of each, and `errors`, shape (networks, EPOCHS), in [0, 1]."""

    def __init__(self, file: Path = FILE) -> None:
        with gzip.open(file, "rt", newline="") as stream:
            rows = list(csv.DictReader(stream))
        self.parameters = [_read(row) for row in rows]
        self.costs = [costs(parameters) for parameters in self.parameters]
        self.errors = np.array([[float(row[f"epoch{e}"]) for e in range(1, EPOCHS + 1)] for row in rows])


def _read(row: Mapping[str, str]) -> dict[str, Value]:
    given: dict[str, Value] = {
        p.name: float(row[p.name]) if p.type == "real" else int(row[p.name])
        for p in SPACE.free
        if row[p.name] != ""
    }
    return SPACE.validate(SPACE.complete(given))


def train(widths: list[int], rate: float, seed: int, data: tuple[np.ndarray, ...]) -> list[float]:
    """Train a dense network with relu by Adam, and return its validation error after each epoch."""
    x, y, validation_x, validation_y = data
    rng = np.random.default_rng(seed)
    layers = list(pairwise([x.shape[1], *widths, INFO.classes]))
    weights = [rng.normal(0.0, math.sqrt(2.0 / a), (a, b)) for a, b in layers] + [
        np.zeros(b) for _, b in layers
    ]
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    depth, step, errors = len(layers), 0, []
    steps = EPOCHS * math.ceil(len(x) / BATCH)

    def outputs(batch: np.ndarray) -> list[np.ndarray]:
        found = [batch]
        for k in range(depth):
            z = found[-1] @ weights[k] + weights[depth + k]
            found.append(z if k == depth - 1 else np.maximum(z, 0.0))
        return found

    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(x)), steps // EPOCHS):
            found = outputs(x[rows])
            odds = np.exp(found[-1] - found[-1].max(axis=1, keepdims=True))
            slope = odds / odds.sum(axis=1, keepdims=True)
            slope[np.arange(len(rows)), y[rows]] -= 1.0
            slope /= len(rows)
            gradients: list[np.ndarray] = [np.empty(0)] * (2 * depth)
            for k in reversed(range(depth)):
                gradients[k], gradients[depth + k] = found[k].T @ slope, slope.sum(axis=0)
                slope = (slope @ weights[k].T) * (found[k] > 0.0)
            now = rate * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            step += 1
            for w, g, mean, square in zip(weights, gradients, means, squares, strict=True):
                mean += 0.1 * (g - mean)
                square += 0.001 * (g * g - square)
                w -= now * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        errors.append(float((outputs(validation_x)[-1].argmax(axis=1) != validation_y).mean()))
    return errors


def build(networks: int, file: Path = FILE) -> None:
    """Train the networks, one after the other, and write the table."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] - x.mean()) / x.std(), y[order]
    data = (x[:1257], y[:1257], x[1257:1527], y[1257:1527])
    out = io.StringIO()
    epochs = [f"epoch{e}" for e in range(1, EPOCHS + 1)]
    writer = csv.DictWriter(out, [*(p.name for p in SPACE.free), *epochs])
    writer.writeheader()
    begin = time.process_time()
    draws = np.random.default_rng(54321)
    for i in range(networks):
        parameters = SPACE.sample(draws)
        curve = train(widths_of(parameters), float(parameters["learning_rate"]), i, data)
        row = {k: v for k, v in parameters.items() if k in writer.fieldnames}
        errors = {name: f"{error:.5f}" for name, error in zip(epochs, curve, strict=True)}
        writer.writerow({**row, "learning_rate": f"{parameters['learning_rate']:.6g}", **errors})
    # No time stamp: equal tables are equal files.
    file.write_bytes(gzip.compress(out.getvalue().encode(), mtime=0))
    spent = time.process_time() - begin
    print(f"{file}: {len(Curves(file).errors)} networks, {file.stat().st_size} bytes, {spent:.0f} CPU s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", action="store_true", help="train the networks and write the table")
    parser.add_argument("--networks", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.networks)
    else:
        print(f"{len(Curves().errors)} networks")
