"""Random networks of every kind: the interpreter, compiled C and every emulated core give the same bytes.

    python benchmarks/exact.py                    # 1,000 networks, each on every core; an hour on two busy processors
    python benchmarks/exact.py --in-turns         # each on the host and on one of the cores
    python benchmarks/exact.py --networks 100 --cores m0,m4

Networks come in turns from four generators: convolutions, poolings and sums; the further operators (functions, pairs, copies,
normalizations, products); recurrent layers, with and without lengths; features of signals. Each runs on three random samples. The table
counts the networks that hold each kind of integer layer. The exit status is 1 for a differing byte, and for a kind that no network holds.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support_export_c import Drawn
from support_operator_networks import DrawnOperators
from support_recurrent import DrawnRecurrent

from sparsemod.calibration.signal_networks import signal_network
from sparsemod.emulator import MACHINES, Emulator
from sparsemod.errors import EmulationError
from sparsemod.export.c.host import host_run_all
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.layers import LAYERS

Case = tuple[IntegerNetwork, Any, Any]
"""A network, its samples and their lengths (None without)."""

BATCH = 40
"""Networks in one program."""


def basic(seed: int) -> Case:
    """Convolutions, poolings, sums and concatenations, on images or sequences."""
    drawn = Drawn(seed, sequence=seed % 3 == 0)
    return drawn.network, drawn.images, None


def further(seed: int) -> Case:
    """Functions, pairs, copies, normalizations and products."""
    drawn = DrawnOperators(seed)
    return drawn.network, drawn.images, None


def recurrent(seed: int) -> Case:
    """GRU and LSTM among convolutions, with and without lengths."""
    return DrawnRecurrent(seed).case


def features(seed: int) -> Case:
    """Features of a signal of 16-bit samples and a small network on them."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        module, shape = signal_network(rng)
        network = quantize(module.eval(), torch.randn(8, *shape).clamp(-4, 4) / 4)
    samples = rng.integers(-32768, 32768, (3, *shape)) >> rng.integers(0, 14, (3, 1, 1))
    return network, samples.astype(np.int16), None


GENERATORS: tuple[Callable[[int], Case], ...] = (basic, further, recurrent, features)


def differing(batch: list[Case], wanted: list[Any], found: list[Any]) -> list[int]:
    """The positions in `batch` whose bytes differ."""
    pairs = zip(wanted, found, strict=True)
    return [index for index, (one, other) in enumerate(pairs) if not np.array_equal(one, other)]


def main() -> int:
    """Print the tables; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--cores", default=",".join(sorted(MACHINES)))
    parser.add_argument(
        "--in-turns",
        action="store_true",
        help="run each network on one of the cores, the next one for each batch",
    )
    arguments = parser.parse_args()
    names = [core if core.startswith("cortex-") else f"cortex-{core}" for core in arguments.cores.split(",")]
    cores = [Emulator(name, timeout=600) for name in names]
    places = ["host C", *names]
    stopped: list[int] = []
    signal.signal(
        signal.SIGINT, lambda number, _: stopped.append(number)
    )  # ends after this batch, with the table
    equal, ran, held, wrong = Counter[str](), Counter[str](), Counter[str](), list[str]()
    started, done = time.perf_counter(), 0
    while done < arguments.networks and not stopped:
        seeds = range(arguments.first + done, arguments.first + min(done + BATCH, arguments.networks))
        batch = [GENERATORS[seed % len(GENERATORS)](seed) for seed in seeds]
        wanted = [network.run(samples, lengths) for network, samples, lengths in batch]
        for network, _, _ in batch:
            held.update({layer.kind for layer in network.layers})
        turn = done // BATCH % len(cores)
        for place, core in zip(places, [None, *cores], strict=True):
            if arguments.in_turns and core not in (None, cores[turn]):
                continue
            try:
                found = host_run_all(batch) if core is None else core.outputs(batch)
            except EmulationError as error:  # for example a compiler that needs too long on a busy machine
                wrong.append(f"networks {seeds.start} to {seeds.stop - 1} did not run on {place}: {error}")
                continue
            ran[place] += len(batch)
            bad = differing(batch, wanted, found)
            wrong += [f"network {seeds[index]} on {place}" for index in bad]
            for index in bad:
                print(f"network {seeds[index]} differs on {place}", file=sys.stderr, flush=True)
            equal[place] += len(batch) - len(bad)
        done += len(batch)
        print(f"{done} networks, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    kinds = sorted(LAYERS.names())
    print("| place | networks with equal bytes |\n| --- | --- |")
    for place in places:
        print(f"| {place} | {equal[place]:,} of {ran[place]:,} |")
    print("\n| kind of layer | networks |\n| --- | --- |")
    for kind in kinds:
        print(f"| {kind} | {held[kind]:,} |")
    missing = [kind for kind in kinds if not held[kind]]
    print(f"\n{time.perf_counter() - started:.0f} s")
    for line in [*wrong, *(f"no network holds {kind}" for kind in missing)]:
        print(line)
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
