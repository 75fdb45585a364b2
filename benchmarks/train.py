"""Training throughput of a small CNN on MNIST: two one-thread workers against the plain DataLoader loop with two threads.

    python benchmarks/train.py             about three minutes on two cores
    python benchmarks/train.py --quick     some seconds, to see that it runs

On a busy machine the two threads of the plain loop wait for each other in a spin and it collapses; `--passive` lets them sleep instead.

Both sides train the same network (17,018 parameters) with the same batch size, optimizer, learning rate (half a cosine) and number of epochs, each
epoch with its validation, and take turns epoch by epoch in one run, so that a busy machine is busy for both. Where MNIST is absent (looked for in
$SPARSEMOD_DATA, $SPARSEMOD_TEST_DATA and ../shared/datasets), synthetic images of its shape take its place, and the output says so.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sparsemod.data import Arrays, dataset, load
from sparsemod.records import CurvePoint
from sparsemod.spec.methods import SCHEDULES
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident, train
from sparsemod.training.process import tune_process

BATCH, RATE = 128, 2e-3
# Multiply-adds of the convolutions and the linear layer: (inputs x outputs x window x places).
_LAYERS = (1 * 16 * 9 * 784, 16 * 32 * 9 * 196, 32 * 32 * 9 * 49, 288 * 10)
# Forward, weight gradient and input gradient; the first layer needs no input gradient.
TRAINING_MACS = 3 * sum(_LAYERS) - _LAYERS[0]


def network() -> nn.Sequential:
    """Three convolutions with batch norm, relu and pooling, one linear layer."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    return nn.Sequential(*block(1, 16), *block(16, 32), *block(32, 32), nn.Flatten(), nn.Linear(288, 10))


@dataset("benchmark-synthetic")
def synthetic(root: Path | None) -> Arrays:
    """60,000 noisy copies of ten smooth random images, 28 x 28."""
    generator = np.random.default_rng(0)
    prototypes = np.kron(generator.normal(size=(10, 7, 7)), np.ones((4, 4)))
    y = generator.integers(0, 10, 60_000)
    x = prototypes[y] + generator.normal(0, 2.0, (len(y), 28, 28))
    return Arrays(x[:, None].astype(np.float32), y)


def data_spec(limit: int | None) -> tuple[DatasetSpec, str]:
    """MNIST where it can be found, else synthetic images; and what to call it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "datasets"
    for root in (os.environ.get("SPARSEMOD_DATA"), os.environ.get("SPARSEMOD_TEST_DATA"), str(beside)):
        if root and (Path(root) / "mnist" / "train-images-idx3-ubyte.gz").is_file():
            return DatasetSpec(name="mnist", root=root, limit=limit), "MNIST"
    return DatasetSpec(
        name="benchmark-synthetic", limit=limit
    ), "SYNTHETIC images of MNIST's shape (no MNIST found)"


def multiply_adds_per_second() -> float:
    """Multiply-adds per second of this process, by the best of many large single-precision products."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = float("inf")
    for _ in range(40):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 1024**3 / best


def ours(pipe: Connection, spec: DatasetSpec, epochs: int, seed: int) -> None:
    """One worker: one thread, `sparsemod.training.train`; waits for a go before each epoch."""
    tune_process(threads=1)
    data = Resident.of(load(spec))
    settings = TrainingSpec(learning_rate=RATE, batch_size=BATCH, schedule=SCHEDULES.config("cosine"))
    torch.manual_seed(seed)
    module = network()
    began = 0.0
    pipe.recv()
    pipe.send(multiply_adds_per_second())

    def wait() -> bool:
        nonlocal began
        pipe.recv()
        began = time.perf_counter()
        return False

    def report(point: CurvePoint) -> None:
        pipe.send((len(data.train) / (time.perf_counter() - began), point.validation_error))

    train(module, data, settings, epochs=epochs, seed=seed, should_stop=wait, on_epoch=report)
    pipe.recv()
    pipe.send(multiply_adds_per_second())


def plain(pipe: Connection, spec: DatasetSpec, epochs: int, seed: int) -> None:
    """The loop everybody writes first: TensorDataset, DataLoader, Adam, two threads; waits for a go before each epoch."""
    torch.set_num_threads(2)
    data = load(spec)
    x, y = data.train.tensors()
    training = torch.utils.data.TensorDataset(x.contiguous(), y)
    validation = torch.utils.data.TensorDataset(*data.validation.tensors())
    torch.manual_seed(seed)
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(training) // BATCH))
    for _ in range(epochs):
        pipe.recv()
        began = time.perf_counter()
        module.train()
        for images, labels in torch.utils.data.DataLoader(training, BATCH, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(module(images), labels).backward()
            optimizer.step()
            schedule.step()
        module.eval()
        wrong = 0
        with torch.no_grad():
            for images, labels in torch.utils.data.DataLoader(validation, BATCH):
                wrong += int((module(images).argmax(1) != labels).sum())
        pipe.send((len(training) / (time.perf_counter() - began), wrong / len(validation)))


class Side:
    """Processes that train an epoch together when told to."""

    def __init__(self, target: Any, count: int, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for seed in range(count):
            here, there = context.Pipe()
            process = context.Process(target=target, args=(there, *arguments, seed), daemon=True)
            process.start()
            self.pipes.append(here)
            self.processes.append(process)

    def ask(self, word: str) -> list[Any]:
        """Send `word` to all at once and wait for every answer."""
        for pipe in self.pipes:
            pipe.send(word)
        return [pipe.recv() for pipe in self.pipes]

    def close(self) -> None:
        """Wait for the processes' ends."""
        for process in self.processes:
            process.join(30)


def main() -> None:
    """Run both sides in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="4,000 images and 2 epochs")
    parser.add_argument("--images", type=int, default=None, help="use so many images (default all of them)")
    parser.add_argument(
        "--passive",
        action="store_true",
        help="idle threads sleep (OMP_WAIT_POLICY=passive): kinder to the plain loop on a busy machine",
    )
    parser.add_argument("--epochs", type=int, default=None, help="epochs of each side (default 6)")
    chosen = parser.parse_args()
    epochs = chosen.epochs or (2 if chosen.quick else 6)
    if chosen.passive:
        os.environ["OMP_WAIT_POLICY"] = "passive"  # read by the OpenMP library of the processes to come
    spec, name = data_spec(chosen.images or (4_000 if chosen.quick else None))
    print(
        f"data: {name}; {sum(p.numel() for p in network().parameters())} parameters, batch {BATCH}, {epochs} epochs"
    )
    print(f"machine: {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} before the run")
    sides = {"plain": Side(plain, 1, spec, epochs), "ours": Side(ours, 2, spec, epochs)}
    peak = sum(sides["ours"].ask("peak"))
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    errors: dict[str, list[float]] = {side: [] for side in sides}
    print(f"\n{'epoch':>5}  {'plain, 1 x 2 threads':>22}  {'ours, 2 x 1 thread':>22}  {'ratio':>6}")
    for epoch in range(1, epochs + 1):
        for side, group in sides.items():
            answers = group.ask("go")
            speeds[side].append(sum(speed for speed, _ in answers))
            errors[side] = [error for _, error in answers]
        a, b = speeds["plain"][-1], speeds["ours"][-1]
        print(f"{epoch:>5}  {a:>14,.0f} images/s  {b:>14,.0f} images/s  {b / a:>6.2f}")
    peak = max(peak, sum(sides["ours"].ask("peak")))
    for group in sides.values():
        group.close()
    ratios = [b / a for a, b in zip(speeds["plain"], speeds["ours"], strict=True)]
    print(
        f"\nratio: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); the goal is 1.5"
    )
    for side in sides:
        shown = ", ".join(f"{100 * error:.2f} %" for error in errors[side])
        share = statistics.median(speeds[side]) * TRAINING_MACS / peak
        print(
            f"{side:>5}: validation error {shown}; {100 * share:.0f} % of the multiply-add peak ({peak / 1e9:.0f} G/s on two cores)"
        )


if __name__ == "__main__":
    main()
