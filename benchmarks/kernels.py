"""Instructions, flash and RAM of the generated kernels on each core, beside those of CMSIS-NN.

    python benchmarks/kernels.py --cmsis-nn CHECKOUT [--cores m4,m7,m33] [--levels=-O2,-O3] [--only TEXT] [--out FILE]

CHECKOUT is a folder with ARM-software/CMSIS-NN; without it, the table has our columns alone. Single layers first, then networks. CMSIS-NN
is compiled with CMSIS_NN_USE_SINGLE_ROUNDING, which gives our bytes in convolutions and linear layers ("same"); its addition and its
averages round in other ways. Its RAM is the same plan of activations, one buffer for all kernels, and the stack.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import kernels_cmsis as cmsis
import numpy as np
import torch
from torch import Tensor, nn

from sparsemod.emulator import Emulation, Emulator, build, machine, versions
from sparsemod.emulator.program import flat_inputs
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.packing import unpacked


def block(
    inputs: int, outputs: int, size: Any = 3, stride: int = 1, groups: int = 1, padding: Any = None
) -> list[nn.Module]:
    """A convolution, batch norm and relu."""
    around = size // 2 if padding is None else padding
    return [
        nn.Conv2d(inputs, outputs, size, stride, around, groups=groups),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """A depthwise and a 1 x 1 convolution."""
    return [*block(inputs, inputs, 3, stride, inputs), *block(inputs, outputs, 1)]


class Residual(nn.Module):
    """Two convolutions and a shortcut, as in ResNet-8 of MLPerf Tiny."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*block(inputs, outputs, 3, stride), *block(outputs, outputs)[:-1])
        self.short = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See torch."""
        y: Tensor = torch.relu(self.body(x) + self.short(x))
        return y


def head(features: int, classes: int) -> list[nn.Module]:
    """Mean and classifier."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def mobilenet(width: float) -> nn.Sequential:
    """MobileNetV1."""
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    layers, before = block(3, int(32 * width), 3, 2), int(32 * width)
    for outputs, stride in plan:
        layers += separable(before, int(outputs * width), stride)
        before = int(outputs * width)
    return nn.Sequential(*layers, *head(before, 2))


def autoencoder() -> nn.Sequential:
    """The anomaly detector of MLPerf Tiny."""
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(128, 640))


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "3x3 3->16 @32": (lambda: block(3, 16), (3, 32, 32)),
    "3x3 16->16 @32": (lambda: block(16, 16), (16, 32, 32)),
    "3x3 64->64 @8": (lambda: block(64, 64), (64, 8, 8)),
    "1x1 stride 2 16->32 @32": (lambda: [nn.Conv2d(16, 32, 1, 2), nn.ReLU()], (16, 32, 32)),
    "10x4 stride 2 1->64 @49x10": (lambda: block(1, 64, (10, 4), 2, padding=(4, 1)), (1, 49, 10)),
    "depthwise 64 @25x5": (lambda: block(64, 64, 3, 1, 64), (64, 25, 5)),
    "depthwise 8 @48": (lambda: block(8, 8, 3, 1, 8), (8, 48, 48)),
    "depthwise stride 2 16 @48": (lambda: block(16, 16, 3, 2, 16), (16, 48, 48)),
    "1x1 64->64 @25x5": (lambda: block(64, 64, 1), (64, 25, 5)),
    "1x1 8->16 @48": (lambda: block(8, 16, 1), (8, 48, 48)),
    "linear 640->128": (lambda: [nn.Linear(640, 128), nn.ReLU()], (640,)),
    "linear 64->10": (lambda: [nn.Linear(64, 10)], (64,)),
    "3x3 1->4 @28": (lambda: block(1, 4), (1, 28, 28)),
    "ResNet-8": (
        lambda: [*block(3, 16), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), *head(64, 10)], (3, 32, 32),
    ),
    "DS-CNN": (
        lambda: [*block(1, 64, (10, 4), 2, padding=(4, 1)), *(part for _ in range(4) for part in separable(64, 64)), *head(64, 12)],
        (1, 49, 10),
    ),
    "MobileNetV1-0.25 @96": (lambda: [mobilenet(0.25)], (3, 96, 96)),
    "autoencoder 640": (lambda: [autoencoder()], (640,)),
    "tiny CNN": (
        lambda: [*block(1, 4), nn.MaxPool2d(2), *block(4, 8), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 10)], (1, 28, 28),
    ),
}  # fmt: skip
"""Name -> (modules, input shape). The networks follow MLPerf Tiny."""


def ours(network: IntegerNetwork, images: Any, core: str) -> Emulation:
    """Measure the generated C."""
    return Emulator(core).measure(network, images)


def theirs(network: IntegerNetwork, images: Any, core: str, files: dict[str, str]) -> Emulation:
    """Measure CMSIS-NN; the first run asks it for the size of its buffer."""
    emulator, flat = Emulator(core), flat_inputs(network, {network.input: images})
    sizes = emulator.run(cmsis.program(network, files, None), flat, marks=False).outputs
    buffer = int(np.ascontiguousarray(sizes[0]).view("<i4").max())
    found = emulator.run(cmsis.program(network, files, buffer), flat)
    return replace(
        found,
        static_ram=found.static_ram + found.arena,
        outputs=next(iter(unpacked(network, found.outputs).values())),
    )


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row for each case, core and level."""
    files = cmsis.sources(options.cmsis_nn) if options.cmsis_nn else None
    flags = build.FLAGS
    for name, (make, shape) in CASES.items():
        if options.only not in name:
            continue
        torch.manual_seed(0)
        samples = torch.randn(24, *shape)
        network = quantize(nn.Sequential(*make()).eval(), samples)
        if not isinstance(network, IntegerNetwork):
            raise TypeError("the scheme static makes integer networks")
        images = network.quantize_input(samples[:1])
        wanted = network.run(images)
        for core in options.cores.split(","):
            for level in options.levels.split(","):
                build.FLAGS = tuple(level if flag == "-O2" else flag for flag in flags)
                try:
                    sides = {"ours": ours(network, images, core)}
                    if files is not None:
                        sides["cmsis"] = theirs(network, images, core, files)
                finally:
                    build.FLAGS = flags
                row: dict[str, Any] = {"case": name, "core": machine(core).core, "level": level}
                for side, found in sides.items():
                    row |= {
                        f"{side}_instructions": found.instructions, f"{side}_flash": found.flash,
                        f"{side}_ram": found.ram, f"{side}_layers": dict(found.per_layer),
                        f"{side}_same": float(np.mean(found.outputs.reshape(-1) == wanted.reshape(-1))),
                    }  # fmt: skip
                yield row


def main() -> None:
    """Print the table; write it as JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cmsis-nn", type=Path)
    parser.add_argument("--cores", default="m4,m7,m33")
    parser.add_argument("--levels", default="-O2,-O3")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(", ".join(versions()))
    print(f"{'case':28} {'core':10} {'':4} {'instructions':>13} {'CMSIS-NN':>11} ratio {'flash':>8} {'CMSIS-NN':>8} ratio {'RAM':>7} {'CMSIS-NN':>8} ratio  same")  # fmt: skip
    found = []
    for row in rows(options):
        found.append(row)
        text = f"{row['case']:28} {row['core']:10} {row['level']:4}"
        for key, width in (("instructions", 13), ("flash", 8), ("ram", 7)):
            other = row.get(f"cmsis_{key}")
            ratio = "" if other is None else f"{row[f'ours_{key}'] / other:.2f}"
            text += f" {row[f'ours_{key}']:{width},} {other or 0:{max(8, width - 2)},} {ratio:>5}"
        print(f"{text} {row['ours_same']:5.0%} {row.get('cmsis_same', 0):.0%}", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
