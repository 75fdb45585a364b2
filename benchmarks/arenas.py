"""Bytes of the arena with three plans: nothing in place, in place alone, and outputs that overwrite inputs at a distance.

    python benchmarks/arenas.py                    # the five networks of benchmarks/kernels.py and MobileNetV2 0.35 at 96 x 96

Only memory is planned: nothing is compiled or trained. The plans differ in the addresses alone, so the instructions are the same.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from sparsemod.arena import BufferProblem, plan
from sparsemod.graph import capture, deployed
from sparsemod.measure.nodes import graph_layout
from sparsemod.networks.zoo.mobilenet import mobilenet_v2

sys.path.insert(0, str(Path(__file__).parent))
from kernels import CASES

NETWORKS = ("ResNet-8", "DS-CNN", "MobileNetV1-0.25 @96", "autoencoder 640", "tiny CNN")
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


def sizes(module: nn.Module, shape: Shape, core: str) -> tuple[int, int, int]:
    """Return the bytes of the three arenas."""
    problem = graph_layout(deployed(capture(module.eval(), shape)), core).problem
    plans = (
        plan(limited(problem, allowed)) for allowed in (lambda _: False, lambda d: d == 0, lambda _: True)
    )
    none, in_place, overlapping = (made.size for made in plans)
    return none, in_place, overlapping


def main() -> None:
    """Print the table."""
    networks = {name: (build, shape) for name, (build, shape) in CASES.items() if name in NETWORKS}
    networks["MobileNetV2-0.35 @96"] = (lambda: [mobilenet_v2((3, 96, 96), 10, 0.35)], (3, 96, 96))
    print("| network | core | apart [B] | in place [B] | overlapping [B] | of in place |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (build, shape) in networks.items():
        module = nn.Sequential(*build())
        for core in ("cortex-m0", "cortex-m4"):
            none, in_place, overlapping = sizes(module, shape, core)
            print(
                f"| {name} | {core} | {none:,} | {in_place:,} | {overlapping:,} | {overlapping / in_place:.2f} |"
            )


if __name__ == "__main__":
    main()
