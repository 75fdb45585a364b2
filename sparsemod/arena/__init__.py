"""Memory planning for one inference: tensor lifetimes, execution order and addresses in one static arena.

`plan(problem)` -> `ArenaPlan`; `problem(nodes, ...)` describes the memory that the generated C needs.
"""

from sparsemod.arena.memory import MEMORY, Memory, Node
from sparsemod.arena.nodes import Layout, layout
from sparsemod.arena.planner import ArenaPlan, plan
from sparsemod.arena.problem import ArenaProblem, Moment, Step

__all__ = [
    "MEMORY",
    "ArenaPlan",
    "ArenaProblem",
    "Layout",
    "Memory",
    "Moment",
    "Node",
    "Step",
    "layout",
    "plan",
]
