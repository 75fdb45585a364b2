"""Pruning: methods and schedules by name, what a plan will remove, and physically smaller networks."""

from sparsemod.pruning.base import PRUNERS, MaskPruner, Pruner
from sparsemod.pruning.create import create_pruner
from sparsemod.pruning.plan import PrunePlan, planned_keep, planned_pruned
from sparsemod.pruning.schedules import SCHEDULES, Schedule
from sparsemod.pruning.shrink import planned_shrink, planned_shrink_graph, shrink

__all__ = [
    "PRUNERS",
    "SCHEDULES",
    "MaskPruner",
    "PrunePlan",
    "Pruner",
    "Schedule",
    "create_pruner",
    "planned_keep",
    "planned_pruned",
    "planned_shrink",
    "planned_shrink_graph",
    "shrink",
]
