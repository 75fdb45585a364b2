"""Loss and error of a module over all samples of a split."""

from typing import Any

import numpy as np
import torch
from torch import nn

from sparsemod.sequences import call
from sparsemod.spec.methods import LOSSES, METRICS
from sparsemod.training.losses import Loss
from sparsemod.training.metrics import Metric
from sparsemod.training.resident import Samples
from sparsemod.training.votes import voted

_ELEMENTS = 1 << 18  # input elements in a batch: more are no faster, and their activations exceed the caches


def evaluate(
    module: nn.Module, samples: Samples, loss: Loss[Any] | None = None, metric: Metric[Any] | None = None
) -> tuple[float, float]:
    """Return (mean loss without label smoothing, metric) over every sample, the incomplete last batch included.

    The defaults are cross entropy and the share of wrong answers. The windows of a sequence vote; the loss is that of
    the windows. The module is in evaluation mode during
    the call and in its former mode after it.
    """
    loss = loss or LOSSES.create(LOSSES.config("cross_entropy"))
    metric = metric or METRICS.create(METRICS.config("error"))
    size = max(32, min(2048, _ELEMENTS // samples.rows.shape[1]))
    total, outputs = 0.0, []
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(samples), size):
                x, y = samples.slice(start, start + size)
                predictions = call(module, x)
                total += float(loss.mean(predictions, y)) * len(y)
                outputs.append(predictions.cpu().numpy())
    finally:
        module.train(training)
    sequence = None if samples.sequence is None else samples.sequence.numpy()
    answers, labels = voted(np.concatenate(outputs), samples.labels.cpu().numpy(), sequence)
    return total / len(samples), metric.score(answers, labels).value
