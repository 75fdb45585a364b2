"""One training of a lottery experiment: histories by iteration, the early-stop weights, masks kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparsemod.seeds import derived_seed
from sparsemod.studies.lottery_spec import LotterySpec
from sparsemod.training.checkpoint import snapshot
from sparsemod.training.distillation import Distillation
from sparsemod.training.evaluation import evaluate
from sparsemod.training.resident import Resident, Samples, batch_bounds
from sparsemod.training.rules import LossFunction

HISTORIES = ("train_loss", "val_loss", "val_acc", "test_acc")
"""The measured histories, in the order of their files."""


@dataclass
class Histories:
    """One training: a value of each history every `plot_step` iterations, and the early-stop iteration.

    `train_loss`: mean over the iterations since the point before. Accuracies are shares of the samples. `early_stop`: the
    iteration (from 1) of the first smallest validation loss at a point; `early_state`: the network's state there.
    `rewind_state`: the state after the spec's `rewind` iterations, None when they are 0 or did not take place.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORIES})
    early_stop: int = 0
    early_state: dict[str, Tensor] = field(default_factory=dict)
    rewind_state: dict[str, Tensor] | None = None


def data_length(spec: LotterySpec, samples: int) -> int:
    """Return the number of points of a history for this number of training samples."""
    return max(1, spec.epoch_count * len(batch_bounds(samples, spec.batch_size)) // spec.plot_step)


def train_masked(
    module: nn.Module,
    masks: Mapping[str, Tensor],
    spec: LotterySpec,
    data: Resident,
    test: Samples,
    *purpose: object,
    teacher: nn.Module | None = None,
) -> Histories:
    """Train the module in place with Adam and a constant learning rate; masked weights stay zero.

    `masks`: name of a parameter -> boolean mask (True = keep). `purpose` numbers the training, for its seed. `teacher`:
    the network of the spec's teacher.
    """
    taught = (
        None
        if teacher is None or spec.teacher is None
        else Distillation(module, teacher, spec.teacher, data.train)
    )
    try:
        return _train_masked(module, masks, spec, data, test, purpose, taught)
    finally:
        if taught is not None:
            taught.finish()


def _train_masked(
    module: nn.Module, masks: Mapping[str, Tensor], spec: LotterySpec, data: Resident, test: Samples,
    purpose: tuple[object, ...], taught: Distillation | None,
) -> Histories:  # fmt: skip
    histories = Histories()
    parameters = dict(module.named_parameters())
    drops = [(parameters[name], ~mask) for name, mask in masks.items()]
    optimizer = torch.optim.Adam(module.parameters(), lr=spec.learning_rate, fused=True)
    bounds = batch_bounds(len(data.train), spec.batch_size)
    points = data_length(spec, len(data.train))
    step = min(spec.plot_step, spec.epoch_count * len(bounds))
    total, seen, iteration, best = torch.zeros((), device=data.device), 0, 0, float("inf")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(spec.seed, *purpose, "module"))
        for epoch in range(spec.epoch_count):
            generator = torch.Generator().manual_seed(derived_seed(spec.seed, *purpose, epoch, "order"))
            order = torch.randperm(len(data.train), generator=generator).to(data.device)
            for start, stop in bounds:
                module.train()
                x, y = data.train.batch(order[start:stop])
                optimizer.zero_grad(set_to_none=True)
                own: LossFunction = nn.functional.cross_entropy
                if taught is not None:
                    own = taught.loss(x, order[start:stop], own)
                loss = own(module(x), y)
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for weight, drop in drops:
                        weight.masked_fill_(drop, 0.0)
                total, seen, iteration = total + loss.detach(), seen + 1, iteration + 1
                if iteration == spec.rewind:
                    histories.rewind_state = snapshot(module)
                if iteration % step or len(histories.values["val_loss"]) == points:
                    continue
                val_loss, val_error = evaluate(module, data.validation)
                _, test_error = evaluate(module, test)
                found = (float(total) / seen, val_loss, 1 - val_error, 1 - test_error)
                for name, value in zip(HISTORIES, found, strict=True):
                    histories.values[name].append(value)
                total, seen = torch.zeros_like(total), 0
                if val_loss < best or not histories.early_state:
                    best = val_loss
                    histories.early_stop, histories.early_state = iteration, snapshot(module)
    return histories


def smallest_removed(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return masks that keep `left` weights of each tensor: those of the largest magnitude that `masks` keeps."""
    found = {}
    for name, weight in weights.items():
        score = weight.detach().abs().reshape(-1).masked_fill(~masks[name].reshape(-1), -1.0)
        keep = torch.ones_like(score, dtype=torch.bool)
        keep[torch.argsort(score, stable=True)[: score.numel() - left[name]]] = False
        found[name] = keep.view_as(weight)
    return found
