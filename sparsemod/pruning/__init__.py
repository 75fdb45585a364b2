"""Pruning: methods and schedules by name, their plans, and physically smaller networks.

Importing this package does not import torch: the configs of methods and schedules are read without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsemod.pruning.base import METHODS, Context, Method, Plan
from sparsemod.pruning.plan import planned_keep, planned_pruned
from sparsemod.pruning.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from sparsemod.pruning.shrinking import planned_shrink_graph, shrink

__all__ = [
    "METHODS",
    "SCHEDULES",
    "Context",
    "Method",
    "Plan",
    "Schedule",
    "planned_keep",
    "planned_pruned",
    "planned_shrink_graph",
    "shrink",
]

_MODULES = {"planned_shrink_graph": "shrinking", "shrink": "shrinking"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
