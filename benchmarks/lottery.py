"""Do tickets reach the baseline in fewer iterations than random reinitializations? LeNet-300-100 on the whole of MNIST.

    python benchmarks/lottery.py [--out FOLDER] [--full]

Five networks are trained, pruned iteratively to 21 % of their weights, and each reset to its initial weights (ticket) or
to fresh ones with the same mask (random). Printed as mean and 95 % interval over the networks: the early stop (smallest
validation loss), the test accuracy there, and the iterations until the validation loss is that of the whole network at
its early stop. A run that never gets there counts as the last iteration, which favours it.

The short run has two rounds that remove 54 % each, and four epochs; --full seven rounds of 20 % and 55 epochs. MNIST
comes from $SPARSEMOD_DATA. An interrupted benchmark continues.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sparsemod.studies.lottery import LotteryRun
from sparsemod.studies.lottery_spec import lottery_spec
from sparsemod.training.process import tune_process

NETS = 5
SHORT: dict[str, Any] = {"prune_count": 2, "prune_rate_fc": 0.54, "epoch_count": 4}
FULL: dict[str, Any] = {"prune_count": 7}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval of Student's t."""
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread


def shown(values: Sequence[float], digits: int = 0) -> str:
    """Return mean and interval as text."""
    mean, half = interval(values)
    return f"{mean:,.{digits}f} ± {half:,.{digits}f}"


def reached(losses: Sequence[float], step: int, target: float) -> float | None:
    """Return the first iteration whose validation loss is at most `target`."""
    return next((float(step * (place + 1)) for place, loss in enumerate(losses) if loss <= target), None)


def row(name: str, histories: Sequence[dict[str, Any]], targets: Sequence[float]) -> list[float]:
    """Print one kind of network; return the iterations to the target, by network."""
    last = [len(h["val_loss"]) * int(h["plot_step"]) for h in histories]
    found = [
        reached(h["val_loss"], int(h["plot_step"]), target)
        for h, target in zip(histories, targets, strict=True)
    ]
    counted = [end if one is None else one for one, end in zip(found, last, strict=True)]
    early = [int(np.argmin(h["val_loss"])) for h in histories]
    accuracy = [100 * h["test_acc"][place] for h, place in zip(histories, early, strict=True)]
    stops = [(place + 1) * int(h["plot_step"]) for h, place in zip(histories, early, strict=True)]
    missed = sum(one is None for one in found)
    print(
        f"| {name} | {shown(stops)} | {shown(accuracy, 2)} | {shown(counted)} | {missed} of {len(found)} |",
        flush=True,
    )
    return counted


def level(histories: dict[str, Any], net: int, place: int) -> dict[str, Any]:
    """Return the histories of one training."""
    return {
        name: histories[name][net, place] for name in ("val_loss", "val_acc", "test_acc")
    } | {"plot_step": histories["plot_step"]}  # fmt: skip


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lottery-benchmark"))
    parser.add_argument("--full", action="store_true", help="seven rounds of 20 %% and 55 epochs")
    options = parser.parse_args()
    tune_process(1)
    began, cpu = time.perf_counter(), time.process_time()
    data = {"name": "mnist", "splits": {"validation": 0.1}}
    changes = {
        "net_count": NETS,
        "dataset": data,
        "save_early_stop": False,
        **(FULL if options.full else SHORT),
    }
    run = LotteryRun(
        lottery_spec("lenet-mnist", "imp", changes), options.out, report=lambda line: print(line, flush=True)
    )
    tickets = run.run()
    random = [run.random(net, 1, run.spec.prune_count) for net in range(NETS)]
    stays = 100 * tickets["sparsity"][-1]
    whole = [level(tickets, net, 0) for net in range(NETS)]
    targets = [float(h["val_loss"].min()) for h in whole]
    print("\n| network | early stop | test accuracy there, % | iterations to the baseline | never |")
    print("| --- | --- | --- | --- | --- |")
    row("whole", whole, targets)
    ours = row(f"ticket, {stays:.0f} %", [level(tickets, net, -1) for net in range(NETS)], targets)
    control = row(f"random, {stays:.0f} %", [level(one, 0, -1) for one in random], targets)
    difference = [a - b for a, b in zip(ours, control, strict=True)]
    print(f"\nticket minus random, by network: {shown(difference)} iterations")
    print(f"{time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} CPU s")


if __name__ == "__main__":
    main()
