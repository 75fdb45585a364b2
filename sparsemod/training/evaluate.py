"""Loss and error of a module over all samples of a split."""

import torch
from torch import nn
from torch.nn import functional

from sparsemod.training.resident import Samples

_ELEMENTS = 1 << 18  # of input in a batch: more gains no speed and lets activations outgrow the caches


def evaluate(module: nn.Module, samples: Samples) -> tuple[float, float]:
    """(mean cross entropy, fraction of wrong answers) over every sample, the incomplete last batch included.

    The module is in evaluation mode during the call and in its former mode after it.
    """
    size = max(32, min(2048, _ELEMENTS // samples.rows.shape[1]))
    loss = torch.zeros((), dtype=torch.float64, device="cpu")
    wrong = 0
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(samples), size):
                x, y = samples.slice(start, start + size)
                logits = module(x)
                loss += functional.cross_entropy(logits, y, reduction="sum").double().cpu()
                wrong += int((logits.argmax(dim=1) != y).sum())
    finally:
        module.train(training)
    return float(loss) / len(samples), wrong / len(samples)
