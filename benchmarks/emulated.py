"""The emulated device: seconds per candidate, instructions per inference, and the operator models' errors, predicted against measured.

    python benchmarks/emulated.py [--cores m4,m7] [--networks 12] [--out FILE]

Random networks that no model was fitted to (a seed of their own) are compiled, linked and run on each core. Targets: under 1 s per candidate
including compilation; mean error of instructions under 3 %, of flash under 2 %; static RAM exact; Kendall's tau over 0.97. Multiply-adds alone,
the usual stand-in for latency, are judged beside.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from sparsemod.calibration.samples import samples
from sparsemod.emulator import MACHINES, machine, versions
from sparsemod.graph.macs import macs
from sparsemod.measure.predicted import predict
from sparsemod.targets import operator_model

SEED = 77


def measure(core: str, networks: int) -> dict[str, Any]:
    """One core's row."""
    model = operator_model(core)
    started = time.perf_counter()
    found = list(samples(core, networks, SEED))
    wall = (time.perf_counter() - started) / networks
    predicted = [predict(s.graph, model, nonzeros=s.nonzeros) for s in found]
    counted = np.array([s.measured.instructions for s in found], float)
    multiplies = np.array([macs(s.graph) for s in found], float)
    per_mac = float((counted * multiplies).sum() / (multiplies**2).sum())
    pairs = list(zip(predicted, found, strict=True))
    return {
        "core": core,
        "networks": networks,
        "seconds": statistics.median(sum(s.measured.seconds.values()) for s in found[1:]),
        "seconds_with_quantization": wall,
        "instructions": float(np.median(counted)),
        "instructions_per_mac": float(np.median(counted / multiplies)),
        "instruction_error": float(np.mean([abs(p.instructions / s.measured.instructions - 1) for p, s in pairs])),
        "worst_error": float(np.max([abs(p.instructions / s.measured.instructions - 1) for p, s in pairs])),
        "flash_error": float(np.mean([abs(p.flash / s.measured.flash - 1) for p, s in pairs])),
        "static_ram_exact": sum(p.static_ram == s.measured.static_ram for p, s in pairs),
        "stack_bytes_off": float(np.max([abs(p.stack - s.measured.stack) for p, s in pairs])),
        "tau": float(kendalltau([p.instructions for p in predicted], counted).statistic),
        "macs_error": float(np.mean(np.abs(per_mac * multiplies / counted - 1))),
        "macs_tau": float(kendalltau(multiplies, counted).statistic),
    }  # fmt: skip


def main() -> None:
    """Print the table; write it as JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cores", default=",".join(MACHINES))
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{' and '.join(versions())}, {options.networks} random networks for each core")
    print(
        "core        s/candidate  instructions  per MAC  error  worst  tau    flash  RAM exact  stack   MACs alone: error  tau"
    )
    rows = []
    for name in options.cores.split(","):
        row = measure(machine(name).core, options.networks)
        rows.append(row)
        print(
            f"{row['core']:<11} {row['seconds']:10.3f} {row['instructions']:13,.0f} {row['instructions_per_mac']:8.2f} "
            f"{row['instruction_error']:6.2%} {row['worst_error']:6.2%} {row['tau']:.3f} {row['flash_error']:7.2%} "
            f"{row['static_ram_exact']:5d}/{row['networks']:<4d} {row['stack_bytes_off']:4.0f} B {row['macs_error']:15.1%} {row['macs_tau']:7.3f}",
            flush=True,
        )  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
