"""Checks of what a training is given, and of its accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsemod.errors import InvalidInput
from sparsemod.records import CurvePoint
from sparsemod.spec.training import TrainingSpec
from sparsemod.training.resident import Resident


def check_arguments(
    module: nn.Module, data: Resident, settings: TrainingSpec, epochs: int, seed: int, device: torch.device
) -> None:
    """Raise InvalidInput when the arguments of `train` do not fit."""
    if epochs < 1:
        raise InvalidInput("epochs", epochs, "at least 1")
    if not 0 <= seed < 2**63:
        raise InvalidInput("seed", seed, "0 to 2**63 - 1")
    if data.device != device:
        raise InvalidInput("device", str(device), f"the device that holds the data: {data.device}")
    if min(settings.batch_size, len(data.train)) < 2 and any(
        isinstance(m, _BatchNorm) for m in module.modules()
    ):
        raise InvalidInput(
            "training.batch_size", settings.batch_size, "at least 2 samples, for batch normalization"
        )
    if settings.drop_path and not hasattr(module, "set_drop_path"):
        raise InvalidInput("training.drop_path", settings.drop_path, "0 for a network without paths to drop")


def check_identity(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise InvalidInput that names the first value in which a checkpoint's training differs."""
    for key, value in wanted.items():
        if found.get(key) != value:
            raise InvalidInput(
                f"resume.{key}", found.get(key), f"a checkpoint of this training: {key} is {value}"
            )


def too_inaccurate(curve: Sequence[CurvePoint], minimum: Sequence[tuple[int, float]]) -> str | None:
    """Return why a training ends after `curve`, or None. `minimum`: pairs of an epoch and an accuracy in percent."""
    for epoch, percent in minimum:
        if len(curve) >= epoch:
            accuracy = 100 * (1 - curve[epoch - 1].validation_error)
            if accuracy < percent:
                return f"training ended: the accuracy after epoch {epoch} is {accuracy:.2f} %, the minimum {percent:g} %"
    return None
