"""Memory planning for one inference: tensor lifetimes, execution order and addresses in one static arena.

`plan(problem)` -> `Plan`; `problem(nodes, ...)` describes the memory that the generated C needs.
"""

from sparsemod.arena.memory import MEMORY, Memory, Node
from sparsemod.arena.nodes import Layout, layout
from sparsemod.arena.planner import Plan, plan
from sparsemod.arena.problem import Moment, Problem, Step

__all__ = ["MEMORY", "Layout", "Memory", "Moment", "Node", "Plan", "Problem", "Step", "layout", "plan"]
