"""What substitutes cost on a Cortex-M4: their own layers against the full convolution, and four forms of a hashed kernel.

    python benchmarks/substitute_kernels.py

Each row is one layer of C to C channels, 3 x 3, on S x S positions, int8, compiled, linked and run on the emulated core.

The first table deploys substitutes with the exporter: as their own layers, and reconstructed as a full convolution.

The second table asks whether a kernel for Hashed pays. Three forms of one layer, with equal weights and outputs: the kernel that is
generated for the core and stores every weight (full, what Hashed is deployed as), the plain kernel that stores every weight (plain),
and the prototype `hashed_kernel.c`, which stores the buckets and computes some filters at a time into RAM, for nn_apply (4, 16 or all).
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparsemod.emulator import Emulator, versions
from sparsemod.emulator.program import Program, program
from sparsemod.pipeline.substituted import deployable
from sparsemod.quantization import quantize
from sparsemod.quantization.packing import packed, unpacked
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
SHARE = 0.1


def hashed(channels: int, buckets: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the kernel (outputs, inputs, 3, 3) that `hashed_kernel.c` computes."""
    state, places = 1, []
    for _ in range(channels * channels * 9):
        state = (state * 1664525 + 1013904223) % 2**32
        places.append((state >> 16) * len(buckets) >> 16)
    return buckets[places].reshape(channels, 3, 3, channels).transpose(0, 3, 1, 2)


def with_buckets(network: Any, channels: int) -> tuple[Any, NDArray[np.int8]]:
    """Return an integer network of one layer with weights from SHARE of its buckets, and the buckets."""
    (layer,) = network.layers
    buckets = np.random.default_rng(0).integers(-127, 128, int(layer.weight.size * SHARE)).astype(np.int8)
    return replace(network, layers=(replace(layer, weight=hashed(channels, buckets)),)), buckets


def computing(network: Any, buckets: NDArray[np.int8], channels: int, size: int, filters: int) -> Program:
    """Return the network's program with the prototype, which computes this number of filters at a time."""
    own = program(network, "")
    names = {
        "CHANNELS": channels,
        "SIZE": size,
        "TAPS": 9 * channels,
        "BUCKETS": len(buckets),
        "FILTERS": filters,
    }
    numbers = ", ".join(f"{name} = {value}" for name, value in names.items())
    stored = f"static const int8_t buckets[BUCKETS] = {{{', '.join(map(str, buckets.tolist()))}}};\n"
    kernel = f"enum {{ {numbers} }};\n{stored}{Path(__file__).with_name('hashed_kernel.c').read_text()}"
    text = str(own.network["network.c"]).replace("nn_conv(", "nn_conv_hashed(")
    place = '#include "kernels/nn.h"\n'
    weights = re.sub(r"\.weights = \w+", ".weights = 0", str(own.network["network.weights.h"]))
    files = {**own.network, "network.c": text.replace(place, place + kernel, 1), "network.weights.h": weights}
    return replace(own, network=files)


def exported(name: str, channels: int, size: int) -> tuple[nn.Module, nn.Module]:
    """Return a layer with a substitute ("" for none) as it is deployed, and as a full convolution."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).eval()
    if name:
        substitute(net, name, skip=())
    return deployable(net, (channels, size, size), None), dense(net)


def quantized(module: nn.Module, channels: int, size: int) -> tuple[Any, torch.Tensor]:
    """Return a module as an int8 network, and the samples of its ranges."""
    samples = torch.rand(16, channels, size, size, generator=torch.Generator().manual_seed(0))
    return quantize(module.eval(), samples, SCHEMES.config("static"), None), samples


def measured(emulator: Emulator, module: nn.Module, channels: int, size: int) -> tuple[int, int, int]:
    """Return flash, RAM and instructions of a module as an int8 network."""
    network, samples = quantized(module, channels, size)
    found = emulator.measure(network, network.quantize_input(samples[:1].numpy()))
    return found.flash, found.ram, found.instructions


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hashed", action="store_true", help="only the second table")
    options = parser.parse_args()
    emulator = Emulator("cortex-m4")
    print(" and ".join(versions()))
    if not options.hashed:
        deployed(emulator)
    computed(emulator)


def deployed(emulator: Emulator) -> None:
    """Print the table of substitutes as they are deployed."""
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


def computed(emulator: Emulator) -> None:
    """Print the table of the forms of Hashed. Raises SystemExit when one differs from the interpreter."""
    print(f"\n| layer | Hashed_{SHARE} as | flash, B | RAM, B | instructions |")
    print("| --- | --- | --- | --- | --- |")
    for channels, size in LAYERS:
        integer, samples = quantized(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)), channels, size
        )
        network, buckets = with_buckets(integer, channels)
        image = network.quantize_input(samples[:1].numpy())
        forms = {"full": program(network, emulator.core), "plain": program(network, "")}
        for count in dict.fromkeys((4, 16, channels)):
            forms[f"{count} filters"] = computing(network, buckets, channels, size, count)
        answers = network.run(image)
        for form, made in forms.items():
            found = emulator.run(made, packed(network, {network.input: image}), marks=False)
            if not np.array_equal(unpacked(network, found.outputs)["output"], answers):
                raise SystemExit(f"{form} differs from the interpreter")
            costs = f"{found.flash:,} | {found.ram:,} | {found.instructions:,}"
            print(f"| {channels} channels, {size} x {size} | {form} | {costs} |", flush=True)


if __name__ == "__main__":
    main()
