"""What substitutes cost on a Cortex-M4: their own layers against the full convolution, and four forms of a hashed kernel.

    python benchmarks/substitute_kernels.py

Each row is one layer of C to C channels, 3 x 3, on S x S positions, int8, compiled, linked and run on the emulated core.

The first table deploys substitutes with the exporter: as their own layers, and reconstructed as a full convolution.

The second table asks whether a kernel for Hashed would pay. Its programs are plain C, one loop over channels as innermost
loop, equal but for the weights: all of them (full); the bucket of each entry in a table of 16 bits that the innermost
loop reads (table); the bucket computed from the entry's place at each use (computed); or computed once in each
inference, a row of the kernel for one output channel at a time, into RAM (row).
"""

import argparse

import numpy as np
import torch
from torch import nn

from sparsemod.emulator import Emulator, versions
from sparsemod.emulator.program import Program
from sparsemod.pipeline.substituted import deployable
from sparsemod.quantization import quantize
from sparsemod.spec.methods import SCHEMES
from sparsemod.substitutes import substitute
from sparsemod.substitutes.substitution import dense

LAYERS = ((16, 16), (32, 8), (64, 8), (64, 4))
SUBSTITUTES = (
    "SepHashed_0.2",
    "Generic_0.125",
    "Generic_0.25",
    "Generic_0.5",
    "Shuffle_4",
    "Monarch_4",
    "Hashed_0.1",
)
FORMS = ("full", "table", "computed", "row")
SHARE = 0.1

HEAD = """
#include <stdint.h>
enum { C = %(channels)d, S = %(size)d, ROW = 9 * C, BUCKETS = %(buckets)d };
void network_run(const int8_t *input, int8_t *output);
static const int32_t bias[C] = {%(bias)s};
static const int8_t weights[] = {%(weights)s};
%(table)s
static inline int8_t hashed(uint32_t place)
{
    uint32_t mixed = place * 2654435761u;
    mixed ^= mixed >> 15;
    mixed *= 2246822519u;
    return weights[((mixed >> 16) * BUCKETS) >> 16];
}
static int8_t clamped(int32_t sum)
{
    int32_t value = (int32_t)(((int64_t)sum * 1717986918) >> 41);
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}
void network_run(const int8_t *input, int8_t *output)
{
    for (int o = 0; o < C; o++) {
        %(begin)s
        for (int y = 0; y < S; y++)
            for (int x = 0; x < S; x++) {
                int32_t sum = bias[o];
                for (int ky = 0; ky < 3; ky++)
                    for (int kx = 0; kx < 3; kx++) {
                        int iy = y + ky - 1, ix = x + kx - 1, place = (ky * 3 + kx) * C;
                        const int8_t *in = input + (iy * S + ix) * C;
                        if (iy < 0 || iy >= S || ix < 0 || ix >= S)
                            continue;
                        for (int c = 0; c < C; c++)
                            sum += in[c] * %(weight)s;
                    }
                output[(y * S + x) * C + o] = clamped(sum);
            }
    }
}
"""
PARTS = {
    "full": ("const int8_t *row = weights + o * ROW;", "row[place + c]"),
    "table": ("const uint16_t *row = table + o * ROW;", "weights[row[place + c]]"),
    "computed": ("", "hashed((uint32_t)(o * ROW + place + c))"),
    "row": (
        "static int8_t row[ROW]; for (int i = 0; i < ROW; i++) row[i] = hashed((uint32_t)(o * ROW + i));",
        "row[place + c]",
    ),
}


def program(form: str, channels: int, size: int) -> Program:
    """Return a hashed convolution with SHARE of the weights in one of the FORMS."""
    generator = np.random.default_rng(0)
    every = 9 * channels * channels
    buckets = int(every * SHARE)
    weights = generator.integers(-127, 128, every if form == "full" else buckets)
    table = ""
    if form == "table":
        entries = ", ".join(map(str, generator.integers(0, buckets, every)))
        table = f"static const uint16_t table[] = {{{entries}}};"
    begin, weight = PARTS[form]
    text = HEAD % {
        "channels": channels, "size": size, "buckets": buckets, "table": table, "begin": begin, "weight": weight,
        "bias": ", ".join(map(str, generator.integers(-500, 500, channels))),
        "weights": ", ".join(map(str, weights)),
    }  # fmt: skip
    image = channels * size * size
    return Program(
        kernels={}, network={"network.c": text}, layers=(), inputs=image, outputs=image, arena=2 * image
    )


def exported(name: str, channels: int, size: int) -> tuple[nn.Module, nn.Module]:
    """Return a layer with a substitute ("" for none) as it is deployed, and as a full convolution."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).eval()
    if name:
        substitute(net, name, skip=())
    return deployable(net, (channels, size, size), None), dense(net)


def measured(emulator: Emulator, module: nn.Module, channels: int, size: int) -> tuple[int, int, int]:
    """Return flash, RAM and instructions of a module as an int8 network."""
    samples = torch.rand(16, channels, size, size, generator=torch.Generator().manual_seed(0))
    network = quantize(module.eval(), samples, SCHEMES.config("static"), None)
    found = emulator.measure(network, network.quantize_input(samples[:1].numpy()))
    return found.flash, found.ram, found.instructions


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    emulator = Emulator("cortex-m4")
    print(" and ".join(versions()))
    print(
        "\n| layer | substitute | flash, B | RAM, B | instructions | full: flash, B | RAM, B | instructions |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for channels, size in LAYERS:
        for name in SUBSTITUTES:
            own, full = (
                measured(emulator, module, channels, size) for module in exported(name, channels, size)
            )
            cells = " | ".join(f"{value:,}" for value in (*own, *full))
            print(f"| {channels} channels, {size} x {size} | `{name}` | {cells} |", flush=True)
    print(f"\n| layer | Hashed_{SHARE} as | flash, B | RAM, B | instructions |")
    print("| --- | --- | --- | --- | --- |")
    for channels, size in LAYERS:
        image = np.zeros((1, channels * size * size), np.int8)
        for form in FORMS:
            found = emulator.run(program(form, channels, size), image, marks=False)
            costs = f"{found.flash:,} | {found.ram:,} | {found.instructions:,}"
            print(f"| {channels} channels, {size} x {size} | {form} | {costs} |", flush=True)


if __name__ == "__main__":
    main()
