"""Memory of dynamically quantized networks: float32 tensors, and the scratch of kernels that quantize their inputs.

The planner counts words of four bytes here, so that every tensor is aligned.
"""

import math
from dataclasses import replace

from sparsemod.arena.memory import Node
from sparsemod.arena.nodes import Layout
from sparsemod.arena.problem import BufferProblem, Step
from sparsemod.layouts import Tensors

WORD = 4


def dynamic_problem(layout: Layout, tensors: Tensors) -> BufferProblem:
    """Return the layout's planning problem in words: one for each element, and the scratch of the float kernels, which overwrite an input
    only in place."""
    steps = tuple(
        replace(step, scratch=-(-scratch_bytes(node, tensors) // WORD), overlaps=_in_place(step, node))
        for step, node in zip(layout.problem.steps, layout.nodes, strict=True)
    )
    return BufferProblem(layout.problem.sizes, steps, layout.problem.sources)


def _in_place(step: Step, node: Node) -> dict[str, int]:
    if node.traits.weighted:
        return {}
    return {name: distance for name, distance in step.overlaps.items() if distance == 0}


def scratch_bytes(node: Node, tensors: Tensors) -> int:
    """Return the bytes that a kernel needs while it runs.

    A layer with filters: its input as int8, and one window of a group unless it reads the input directly. A recurrent layer: its float
    state (and cell), and the state and the input of one step as int8.
    """
    traits = node.traits
    if traits.recurrent:
        units, features = int(node.attributes["units"]), tensors.image(node.inputs[0])[0]
        return WORD * units * (2 if node.kind == "lstm" else 1) + units + features
    if not traits.weighted:
        return 0
    size = tensors.elements(node.inputs[0])
    if not traits.window:
        return size
    channels, outputs = tensors.image(node.inputs[0])[0], tensors.image(node.output)[0]
    gathered = node.window.conv_kernel(channels, outputs) == "conv"
    return size + (math.prod(node.window.kernel) * (channels // node.window.groups) if gathered else 0)
