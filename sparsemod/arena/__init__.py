"""Memory planning for one inference: tensor lifetimes, execution order and addresses in one static arena.

`plan(problem)` -> `BufferPlan`; `problem(nodes, ...)` describes the memory that the generated C needs.
"""

from sparsemod.arena.chains import Chain, Fused
from sparsemod.arena.memory import MEMORY, Memory, Node
from sparsemod.arena.nodes import Layout, layout
from sparsemod.arena.planner import BufferPlan, plan
from sparsemod.arena.problem import BufferProblem, Moment, Step

__all__ = [
    "MEMORY",
    "BufferPlan",
    "BufferProblem",
    "Chain",
    "Fused",
    "Layout",
    "Memory",
    "Moment",
    "Node",
    "Step",
    "layout",
    "plan",
]
