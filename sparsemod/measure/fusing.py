"""The choice of layers that run together, some rows at a time, by the bytes of the arena and the instructions that a core's model predicts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena import Chain, Fused, plan
from sparsemod.arena.fusing import Fusions, Setting
from sparsemod.graph import Graph
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.work import Work, chain_works, layer_instructions, works
from sparsemod.targets import OperatorModel, calibrated_cores, operator_model

_LIMITS = 5  # limits between the least peak and that without chains
_TRIES = 4  # lower limits, while the addresses need more than the peak


@dataclass(frozen=True)
class FusionGoal:
    """What the layers that run together are chosen for.

    `memory`: the arena is to be small; `instructions`: so are the instructions. With `memory` alone the arena is the smallest that the
    search finds; with both 1 % of one is worth 1 % of the other. `most`: a limit of the arena's bytes, met with the fewest further instructions.
    With neither `memory` nor `most`, no layers run together. `core`: the core for which the memory is planned, `model` that whose model predicts.
    """

    core: str = ""
    model: str = EncodingGoal().core
    memory: bool = False
    instructions: bool = False
    most: float | None = None


def chosen_fusions(
    graph: Graph,
    goal: FusionGoal,
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
) -> tuple[Fused, ...]:
    """Return the layers of a deployed graph that run together. No chain has further multiply-adds.

    `nonzeros` and `encodings` as in `sparsemod.measure.work.works`."""
    layout = graph_layout(graph, goal.core)
    before = plan(layout.problem).size
    if not goal.memory and (goal.most is None or before <= goal.most):
        return ()
    model = operator_model(goal.model if goal.model in calibrated_cores() else EncodingGoal().core)
    one_by_one = {
        work.layer: _instructions(work.on(model), model) for work in works(graph, nonzeros, encodings)
    }
    operators = {operator.name: operator for operator in graph.operators}

    def cost(chain: Chain) -> float:
        found = chain_works(graph, chain, operators, nonzeros, encodings)
        together = sum(_instructions(work.on(model), model) for work in found)
        return together - sum(one_by_one[name] for name in chain.fused.layers)

    fusions = Fusions(layout, graph.tensors, tuple(graph.outputs.values()), goal.core, cost)
    total = sum(one_by_one.values())
    chosen = _Choice(graph, goal, before, total)
    least = fusions.least()
    chosen.add(least)
    limit = goal.most
    for _ in range(_TRIES if limit is not None else 0):
        found = fusions.within(max(float(limit or 0.0), least.peak))
        if found is None or chosen.add(found) <= (goal.most or 0.0):
            break
        limit = float(limit or 0.0) - (chosen.last - (goal.most or 0.0))
    if goal.memory and goal.instructions and least.peak > 0:
        ratio = max(1.0, before / least.peak)
        for step in range(1, _LIMITS + 1):
            found = fusions.within(least.peak * ratio ** (step / (_LIMITS + 1)))
            if found is not None:
                chosen.add(found)
    return chosen.best


def _instructions(work: Work, model: OperatorModel) -> float:
    return layer_instructions(work.kernel, work.features, model, work.layer)


class _Choice:
    """Settings, and the best one under a goal; the plan without chains is the first."""

    def __init__(self, graph: Graph, goal: FusionGoal, before: int, total: float) -> None:
        self.graph, self.goal, self.total = graph, goal, total
        self.best: tuple[Fused, ...] = ()
        self.last = before
        self._rank = self._ranked(before, 0.0)
        self._seen: dict[Sequence[Fused], int] = {(): before}

    def add(self, setting: Setting) -> int:
        """Consider a setting; return the bytes of its arena."""
        if setting.fused not in self._seen:
            layout = graph_layout(self.graph, self.goal.core, setting.fused)
            self._seen[setting.fused] = plan(layout.problem).size
        self.last = self._seen[setting.fused]
        rank = self._ranked(self.last, setting.cost)
        if rank < self._rank:
            self.best, self._rank = setting.fused, rank
        return self.last

    def _ranked(self, size: int, cost: float) -> tuple[float, float, float]:
        goal, instructions = self.goal, max(1.0, self.total + cost)
        over = max(0.0, size / goal.most - 1) if goal.most else 0.0
        if goal.memory and goal.instructions:
            return over, math.log(max(1, size)) + math.log(instructions), 0.0
        return (over, float(size), cost) if goal.memory else (over, cost, float(size))
