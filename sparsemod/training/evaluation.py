"""Loss and error of a module over all samples of a split."""

from typing import Any

import numpy as np
import torch
from torch import nn

from sparsemod.sequences import call, tensor_of
from sparsemod.spec.methods import LOSSES, METRICS
from sparsemod.training.losses import Loss
from sparsemod.training.metrics import Metric
from sparsemod.training.resident import Samples
from sparsemod.training.tasks.base import TASKS, Task
from sparsemod.training.votes import voted

_ELEMENTS = 1 << 18  # input elements in a batch: more are no faster, and their activations exceed the caches


def evaluate(
    module: nn.Module,
    samples: Samples,
    loss: Loss[Any] | None = None,
    metric: Metric[Any] | None = None,
    task: Task[Any] | None = None,
) -> tuple[float, float]:
    """Return (mean loss without label smoothing, metric) over every sample, the incomplete last batch included.

    The defaults are cross entropy, the share of wrong answers and classification. The windows of a sequence vote; the
    loss is that of the windows. The module is in evaluation mode during the call and in its former mode after it.
    """
    loss = loss or LOSSES.create(LOSSES.config("cross_entropy"))
    metric = metric or METRICS.create(METRICS.config("error"))
    task = task or TASKS.create(TASKS.config("classification"))
    size = max(32, min(2048, _ELEMENTS // samples.rows.shape[1]))
    total, count, outputs = 0.0, 0, []
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(samples), size):
                x, y = samples.slice(start, start + size)
                predictions = call(module, x)
                outputs.append(
                    task.predictions(predictions.float().cpu().numpy(), tensor_of(x).cpu().numpy())
                )
                if samples.counted is not None:
                    chosen = samples.counted[start : start + size]
                    predictions, y = predictions[chosen], y[chosen]
                if len(y):
                    total += float(loss.mean(predictions, y)) * len(y)
                    count += len(y)
    finally:
        module.train(training)
    sequence = None if samples.sequence is None else samples.sequence.numpy()
    truth = samples.labels.cpu().numpy() if samples.truth is None else samples.truth
    answers, labels = voted(np.concatenate(outputs), truth, sequence)
    return total / count, metric.score(answers, labels).value
