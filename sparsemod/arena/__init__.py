"""Where the activations of one inference lie: lifetimes, execution order and addresses in one static arena.

`plan(problem)` -> `Plan`; `problem(nodes, ...)` says what generated C needs of a network, however it is held.
"""

from sparsemod.arena.nodes import Layout, Node, layout
from sparsemod.arena.planner import Plan, plan
from sparsemod.arena.problem import Moment, Problem, Step

__all__ = ["Layout", "Moment", "Node", "Plan", "Problem", "Step", "layout", "plan"]
