"""The arena of a dynamically quantized network's C project."""

from dataclasses import replace

from sparsemod.arena import Node
from sparsemod.arena import layout as memory_layout
from sparsemod.arena import plan as plan_arena
from sparsemod.arena.dynamic_memory import WORD, dynamic_problem
from sparsemod.arena.planner import BufferPlan
from sparsemod.arena.problem import BufferProblem
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.graph import Operator
from sparsemod.quantization.dynamic_network import DynamicNetwork


def plan(network: DynamicNetwork) -> ArenaPlan:
    """Plan the addresses, in bytes, of a network's tensors. Raises Unsupported for kinds without a memory rule."""
    graph = network.graph
    nodes = [node(operator) for operator in graph.operators]
    layout = memory_layout(nodes, graph.tensors, graph.inputs, tuple(graph.outputs.values()))
    in_words = dynamic_problem(layout, graph.tensors)
    planned = _in_bytes(plan_arena(in_words))
    layout = replace(layout, problem=_problem_in_bytes(in_words))
    offsets = {
        name: planned.offsets[buffer]
        for name, buffer in layout.buffer_of.items()
        if buffer in planned.offsets and buffer not in layout.outside
    }
    names = tuple(layout.nodes[index].name for index in planned.order)
    moments = tuple(zip(names, (moment.bytes for moment in planned.timeline), strict=True))
    return ArenaPlan(planned.size, offsets, names, moments, planned.lost, planned.exact, layout, planned)


def node(operator: Operator) -> Node:
    """Convert an operator to the planner's node."""
    return Node(
        operator.name, operator.traits.layer, operator.inputs, operator.output, operator.window, operator.attributes
    )  # fmt: skip


def _problem_in_bytes(problem: BufferProblem) -> BufferProblem:
    """Return a problem in words as one in bytes."""
    sizes = {name: WORD * words for name, words in problem.sizes.items()}
    steps = tuple(replace(step, scratch=WORD * step.scratch) for step in problem.steps)
    return BufferProblem(sizes, steps, problem.sources)


def _in_bytes(planned: BufferPlan) -> BufferPlan:
    """Return a plan in words as one in bytes."""
    return BufferPlan(
        planned.order,
        {name: WORD * place for name, place in planned.offsets.items()},
        {name: WORD * place for name, place in planned.scratch.items()},
        WORD * planned.size,
        WORD * planned.peak,
        planned.exact,
        tuple(replace(m, bytes=WORD * m.bytes, scratch=WORD * m.scratch) for m in planned.timeline),
    )
