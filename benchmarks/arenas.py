"""Bytes of the arena with four plans: nothing in place, in place alone, outputs that overwrite inputs at a distance, and also layers that
run together, some rows at a time.

    python benchmarks/arenas.py                    # the five networks of benchmarks/kernels.py and MobileNetV2 0.35 at 96 x 96
    python benchmarks/arenas.py --measure          # the last two plans also compiled and run on the emulated cores (minutes)

Without --measure only memory is planned. The first three plans differ in the addresses alone, so their instructions are the same. Layers
that run together repeat no multiply-add; their further instructions are those of calls and of moved rows.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sparsemod.arena import BufferProblem, Fused, plan
from sparsemod.emulator import Emulation, Emulator
from sparsemod.graph import Graph, capture, deployed
from sparsemod.graph.macs import macs
from sparsemod.measure.fusing import FusionGoal, chosen_fusions
from sparsemod.measure.nodes import graph_layout
from sparsemod.networks.zoo.mobilenet import mobilenet_v2
from sparsemod.quantization.static import quantize_static

sys.path.insert(0, str(Path(__file__).parent))
from kernels import CASES

NETWORKS = ("ResNet-8", "DS-CNN", "MobileNetV1-0.25 @96", "autoencoder 640", "tiny CNN")
CORES = ("cortex-m0", "cortex-m4", "cortex-m55")
Shape = tuple[int, ...]


def limited(problem: BufferProblem, allowed: Callable[[int], bool]) -> BufferProblem:
    """Return the problem with only those overlaps whose distance is allowed."""
    steps = tuple(
        replace(
            step, overlaps={name: distance for name, distance in step.overlaps.items() if allowed(distance)}
        )
        for step in problem.steps
    )
    return BufferProblem(problem.sizes, steps, problem.sources)


def sizes(graph: Graph, core: str) -> tuple[int, int, int]:
    """Return the bytes of the three arenas without layers that run together."""
    problem = graph_layout(graph, core).problem
    plans = (
        plan(limited(problem, allowed)) for allowed in (lambda _: False, lambda d: d == 0, lambda _: True)
    )
    none, in_place, overlapping = (made.size for made in plans)
    return none, in_place, overlapping


def repeated_macs(graph: Graph, fused: tuple[Fused, ...], core: str) -> int:
    """Return the multiply-adds that layers compute more often than once when they run together: of the rows that all calls make, those
    beyond the rows of the output."""
    per_layer = {operator.name: macs(replace(graph, operators=(operator,))) for operator in graph.operators}
    repeated = 0
    for chain in graph_layout(graph, core, fused).chains.values():
        for part in chain.parts:
            rows = graph.tensors.image(part.node.output)[1]
            repeated += per_layer[part.node.name] * max(0, chain.calls(part) * part.made - rows) // rows
    return repeated


def measured(graph: Graph, fused: tuple[Fused, ...], core: str) -> Emulation:
    """Return the measurement of the network on the emulated core. Raises RuntimeError where its bytes differ from the interpreter's."""
    torch.manual_seed(0)
    images = torch.randn(4, *graph.tensors.shapes[graph.input])
    network = replace(quantize_static(graph, images), fused=fused, core=core)
    inputs = network.quantize_input(images[:1].numpy())
    found = Emulator(core, timeout=600).measure(network, inputs)
    if not np.array_equal(found.outputs, network.run(inputs)):
        raise RuntimeError(f"{core}: the outputs differ from the interpreter's")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--measure", action="store_true", help="also run the last two plans on the emulated cores"
    )
    parser.add_argument("--cores", nargs="+", default=list(CORES), choices=CORES)
    parser.add_argument("--networks", nargs="+", help="default: all")
    options = parser.parse_args()
    networks = {name: (build, shape) for name, (build, shape) in CASES.items() if name in NETWORKS}
    networks["MobileNetV2-0.35 @96"] = (lambda: [mobilenet_v2((3, 96, 96), 10, 0.35)], (3, 96, 96))
    columns = [
        "network",
        "core",
        "apart [B]",
        "in place [B]",
        "overlapping [B]",
        "fused [B]",
        "of overlapping",
    ]
    columns += ["chains", "extra multiply-adds"]
    if options.measure:
        columns += ["overlapping [M instructions]", "fused [M instructions]", "RAM, fused [B]"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, (build, shape) in networks.items():
        if options.networks and name not in options.networks:
            continue
        graph = deployed(capture(nn.Sequential(*build()).eval(), shape))
        for core in options.cores:
            none, in_place, overlapping = sizes(graph, core)
            fused = chosen_fusions(graph, FusionGoal(core, core, memory=True, instructions=True))
            size = plan(graph_layout(graph, core, fused).problem).size
            row = [name, core, f"{none:,}", f"{in_place:,}", f"{overlapping:,}", f"{size:,}"]
            row += [
                f"{size / overlapping:.2f}",
                " + ".join(f"{len(c.layers)} by {c.rows}" for c in fused) or "-",
            ]
            row.append(f"{repeated_macs(graph, fused, core):,}")
            if options.measure:
                before = measured(graph, (), core)
                after = measured(graph, fused, core) if fused else before
                row += [
                    f"{before.instructions / 1e6:.3f}",
                    f"{after.instructions / 1e6:.3f}",
                    f"{after.ram:,}",
                ]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
