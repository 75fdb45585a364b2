"""Training of small networks on resident data: `train`, its inputs and its result.

Importing this package does not import torch: the configs of rules, optimizers, ... are read without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemod.training.evaluation import evaluate
    from sparsemod.training.loop import train
    from sparsemod.training.outcome import TrainingOutcome
    from sparsemod.training.resident import Resident

__all__ = ["Resident", "TrainingOutcome", "evaluate", "train"]

_MODULES = {"Resident": "resident", "TrainingOutcome": "outcome", "evaluate": "evaluation", "train": "loop"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
