"""The damage of compression beyond the metric: the loss, single classes, calibration, and corrupted validation data."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from sparsemod.data import Split
from sparsemod.measure.damage import class_damage, corruptions
from sparsemod.pipeline.measuring import counted, network_quality
from sparsemod.records import Measurement
from sparsemod.training.losses import LOSSES
from sparsemod.training.resident import fitted
from sparsemod.training.tasks.base import Task
from sparsemod.training.votes import voted

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work

LOSS = "loss"


def damage(work: "Work") -> list[Measurement]:
    """Return the measurements of the finished network on validation data.

    `loss`; for classes `worst_class_error` and `calibration_error`; and the task's metric on corrupted samples:
    `noise_error`, `blur_error` and `contrast_error` for the metric `error`. Blur and contrast are for images only.
    """
    network, split = work.finished(), work.data.validation
    task = fitted(work.problem.spec.task, work.data)
    outputs = network.logits(split.x, split.lengths)
    found = [_loss(work, task, outputs, split)]
    if work.problem.spec.task.targets == "classes":
        answers, truth = voted(outputs.reshape(len(outputs), -1), split.y, split.sequence)
        found += class_damage(answers, truth, network.title)
    for name, (corrupted, words) in corruptions(split.x).items():
        measured = network_quality(work, network, replace(split, x=corrupted))
        found.append(
            measured.model_copy(
                update={
                    "metric": f"{name}_{measured.metric}",
                    "method": f"{measured.method} with {words}",
                    "detail": {},
                }
            )
        )
    return found


def _loss(work: "Work", task: Task[Any], outputs: NDArray[Any], split: Split) -> Measurement:
    """Return the mean loss without label smoothing, over the samples that the task's loss counts."""
    loss = LOSSES.create(work.problem.spec.training.loss)
    task.weigh(loss)
    x, y = split.tensors()
    predictions, targets = torch.from_numpy(outputs), task.targets(x, y)
    chosen = task.trained_on(split.y)
    if chosen is not None and chosen.any():
        places = torch.from_numpy(chosen)
        predictions, targets = predictions[places], targets[places]
    return Measurement(
        metric=LOSS, value=float(loss.mean(predictions, targets)), unit="loss",
        method=f"{work.problem.spec.training.loss.name} of the {work.finished().title} on {counted(split)}",
        target="host", split="validation",
    )  # fmt: skip
