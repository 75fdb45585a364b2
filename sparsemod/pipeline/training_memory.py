"""The memory of one training iteration: traced on a device, or predicted without values."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsemod.pipeline.problem import Problem
from sparsemod.records import DataInfo, Measurement, Value
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import optimizers
from sparsemod.training.batch_loss import BatchLoss
from sparsemod.training.losses import LOSSES
from sparsemod.training.memory_trace import MemoryTrace, Shadow, trace_iteration
from sparsemod.training.rules import RULES
from sparsemod.training.tasks.base import blank_targets

METRIC = "training_memory"


def needed(problem: Problem) -> bool:
    """Return whether an objective or a budget needs the training memory."""
    return METRIC in problem.spec.objectives or METRIC in problem.objectives.budgets


def measured(problem: Problem, values: Mapping[str, Value], module: nn.Module) -> Measurement:
    """Return the predicted peak of one iteration on `module`, which is not changed."""
    settings = problem.training(values)
    trace = predicted(module, problem.info, settings)
    return Measurement(
        metric=METRIC,
        value=float(trace.peak),
        unit="B",
        method=f"predicted peak of one iteration with rule {settings.rule.name} and {settings.batch_size} samples: live tensors, parameters, optimizer state, batch and feedback matrices",
        detail={"beyond": trace.beyond, "operation": trace.peak_operation, **trace.baseline},
    )


def predicted(module: nn.Module, info: DataInfo, settings: TrainingSpec) -> MemoryTrace:
    """Return the trace of one iteration without values, which takes no memory: sizes follow from shapes."""
    return traced(copy.deepcopy(module).to("meta"), info, settings, "meta")


def traced(module: nn.Module, info: DataInfo, settings: TrainingSpec, device: str) -> MemoryTrace:
    """Return the trace of one iteration of `module`, on `device`, on random samples; its weights change."""
    module = module.train()
    rule = RULES.create(settings.rule)
    alone = settings.model_copy(update={"teacher": None})
    alone.check_rule(settings.rule.name, rule.layer_by_layer)
    rule.start(module, 0)
    loss, smoothing = LOSSES.create(settings.loss), settings.label_smoothing
    whole = BatchLoss(module, alone, lambda o, t: loss.mean(o, t, smoothing), 0)
    batch = _batch(info, settings, device)
    try:
        return trace_iteration(
            module,
            rule,
            batch,
            whole.of(batch[0], torch.arange(settings.batch_size)),
            _optimizer(whole.trained, settings, device),
            at_once=settings.gradient_clip is None,
            beside=whole.beside,
        )
    finally:
        rule.finish()
        whole.finish()


def by_rule(
    module: nn.Module, info: DataInfo, settings: TrainingSpec, rules: Sequence[str], device: str | None = None
) -> dict[str, MemoryTrace]:
    """Return the trace of one iteration by rule; predicted without `device`. `module` is not changed.

    The rule of `settings` has the keys given there, other rules have their defaults. Raises UnknownName for a rule, BuildError for a network that a rule cannot train.
    """
    found = {}
    for name in rules:
        own = name == settings.rule.name
        chosen = settings if own else settings.model_copy(update={"rule": RULES.config(name)})
        if device is None:
            found[name] = predicted(module, info, chosen)
        else:
            with torch.random.fork_rng(devices=[]):
                found[name] = traced(copy.deepcopy(module).to(device), info, chosen, device)
    return found


def _batch(info: DataInfo, settings: TrainingSpec, device: str) -> tuple[Tensor, Tensor]:
    labels = blank_targets(settings.metric.targets, info, settings.batch_size, device)
    return torch.randn(settings.batch_size, *info.shape, device=device), labels


def _optimizer(module: nn.Module, settings: TrainingSpec, device: str) -> torch.optim.Optimizer | Shadow:
    if device != "meta":
        return optimizers.build(module, settings)
    return Shadow(
        list(module.parameters()), lambda parameters: optimizers.build(nn.ParameterList(parameters), settings)
    )
