"""Seconds to measure a candidate on the emulated core: cold, with known kernels, and again; and a network that is judged before it is compiled.

    python benchmarks/candidates.py [--core m4] [--networks 12] [--out FILE]

Random networks of the calibration are generated, compiled, linked and run. *new*: every kernel that is generated for a shape is compiled.
*known*: kernels of these shapes come from the cache, as for most candidates of a search whose layers repeat. CPU seconds of the compiler and
of QEMU are counted beside the wall time, because they do not depend on what else runs. Goal: at most 0.5 s. ResNet-18's int8 weights exceed
the machine's memory: the time until DoesNotFit is the time of its judgement.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsemod.calibration.samples import integer_networks
from sparsemod.emulator import Emulator, machine, versions
from sparsemod.errors import DoesNotFit
from sparsemod.quantization import quantize

SEED = 91


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, CPU seconds with those of child processes, and the result."""
    before, started = _cpu(), time.perf_counter()
    result = call()
    return time.perf_counter() - started, _cpu() - before, result


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


class Block(nn.Module):
    """A residual block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.short: nn.Module = nn.Identity() if same else short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both paths."""
        return torch.relu(self.body(x) + self.short(x))


def resnet18() -> nn.Module:
    """ResNet-18 for 32 x 32 pixels: 11.2 million weights."""
    blocks = [Block(a, b, s) for a, b, s in (
        (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1),
    )]  # fmt: skip
    stem = (nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def main() -> None:
    """Print the table; write it as JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--core", default="m4")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    core = machine(options.core).core
    print(f"{', '.join(versions(machine(core).architecture))}; {options.networks} random networks on {core}")
    torch.set_num_threads(1)
    rows: dict[str, list[tuple[float, float]]] = {"new": [], "known": []}
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(core, cache=Path(folder))
        networks = [network for _, network, _ in integer_networks(options.networks, SEED)]
        first = timed(lambda: emulator.measure(networks[0]))
        print(
            f"first candidate, with the shared kernels and the harness: {first[0]:.2f} s, CPU {first[1]:.2f} s"
        )
        for network in networks[1:]:
            for times in rows.values():
                wall, cpu, _ = timed(lambda network=network: emulator.measure(network))
                times.append((wall, cpu))
        found: dict[str, Any] = {"core": core, "first": first[:2]}
        for kind, taken in rows.items():
            walls, cpus = zip(*taken, strict=True)
            found[kind] = {
                "wall": statistics.median(walls),
                "cpu": statistics.median(cpus),
                "worst_cpu": max(cpus),
            }
            print(
                f"{kind:<6} median {found[kind]['wall']:.2f} s; CPU median {found[kind]['cpu']:.2f} s, most {max(cpus):.2f} s"
            )
        network = quantize(resnet18().eval(), torch.randn(4, 3, 32, 32))

        def judge() -> str:
            try:
                emulator.costs(network)
            except DoesNotFit as error:
                return str(error)
            return "fits"

        wall, cpu, verdict = timed(judge)
        found["resnet18"] = {"wall": wall, "cpu": cpu, "verdict": verdict}
        print(f"ResNet-18: {verdict}; judged in {wall:.2f} s, CPU {cpu:.2f} s")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
