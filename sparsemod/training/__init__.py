"""Training of small networks on resident data: `train`, what it needs and what it returns."""

from sparsemod.training.evaluate import evaluate
from sparsemod.training.loop import train
from sparsemod.training.outcome import TrainingOutcome
from sparsemod.training.resident import Resident

__all__ = ["Resident", "TrainingOutcome", "evaluate", "train"]
