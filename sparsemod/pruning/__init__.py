"""Pruning: methods by name, schedules, what a plan will remove, and physically smaller networks."""

from sparsemod.pruning.plan import PrunePlan, planned_keep, planned_pruned

__all__ = ["PrunePlan", "planned_keep", "planned_pruned"]
