"""The measurements of a finished network: validation error, costs with their provenance, and differences from the plan."""

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import nn

from sparsemod.data import Split
from sparsemod.pipeline import training_memory
from sparsemod.pipeline.on_device import linked_size, measure_on_device
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import measured_costs
from sparsemod.quantization import Quantized
from sparsemod.records import Measurement
from sparsemod.sequences import Padded, call
from sparsemod.training.metrics import METRICS as SCORERS
from sparsemod.training.metrics import Score
from sparsemod.training.resident import fitted
from sparsemod.training.tasks.base import Task
from sparsemod.training.votes import sequence_facts, voted
from sparsemod.units import METRICS, over_budget

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


def measurements(work: "Work", module: nn.Module, network: Quantized) -> list[Measurement]:
    """Return metric and costs of `network`, and the metric of `module` before quantization.

    Differences from the planned costs become notes of `work`.
    """
    problem = work.problem
    by_metric = measured_costs(problem, module, network)
    by_metric["model_size"] = linked_size(network, by_metric["model_size"])
    measured, notes = measure_on_device(problem, network, by_metric)
    by_metric |= measured
    if training_memory.METRIC in work.planned:  # of the network that was trained
        by_metric[training_memory.METRIC] = work.planned[training_memory.METRIC]
    work.notes += notes
    split = work.data.validation
    x, _ = split.tensors()
    with torch.inference_mode():
        # Use torch's default memory format, which a user's module may need for `view`.
        plain = x.clone(memory_format=torch.contiguous_format)
        batch = plain if split.lengths is None else Padded(plain, torch.from_numpy(split.lengths))
        outputs = call(module.eval(), batch).numpy()
    task = fitted(problem.spec.task, work.data)
    score = _score(problem, task, outputs, split.x, split)
    floating = Measurement(
        metric=f"float_{problem.spec.quality}", value=score.value, unit=METRICS[problem.spec.quality].unit, method=f"float network before quantization on {counted(split)}",
        target="host", split=split.name, standard_error=score.standard_error,
    )  # fmt: skip
    for name in problem.spec.objectives:
        if name in work.planned and by_metric[name].value != work.planned[name].value:
            work.notes.append(
                f"{name}: planned {work.planned[name].value:g}, measured {by_metric[name].value:g} {by_metric[name].unit}"
            )
    values = {name: measurement.value for name, measurement in by_metric.items()}
    for name, excess in problem.objectives.over_budget(values).items():
        work.notes.append(f"{over_budget(name, excess)}; the plan before training was within the budget")
    return [network_quality(work, network, split), floating, *by_metric.values()]


def network_quality(work: "Work", network: Quantized, split: Split) -> Measurement:
    """Return the metric of the spec's task for `network` on `split`, with its standard error and details."""
    problem = work.problem
    task = fitted(problem.spec.task, work.data)
    metric = problem.spec.training.metric
    outputs, inputs = network.logits(split.x, split.lengths), network.seen(split.x)
    predictions, scorer = task.predictions(outputs, inputs), SCORERS.create(metric)
    answers, truth = voted(predictions, split.y, split.sequence)
    score = scorer.score(answers, truth)
    of_windows = score if split.sequence is None else scorer.score(predictions, split.y)
    sequences = sequence_facts(split.sequence, split.lengths, score.value, of_windows.value)
    return Measurement(
        metric=metric.key,
        value=score.value,
        unit=METRICS[metric.key].unit,
        method=f"{'' if metric.name == metric.key else f'{metric.name} of the '}{network.title} on {counted(split)}",
        target="host",
        split=split.name,
        standard_error=score.standard_error,
        detail={
            **task.details(answers, truth, work.data.names),
            **({"sequences": sequences} if sequences else {}),
        },
    )


def _score(
    problem: Problem, task: Task[Any], outputs: NDArray[Any], inputs: NDArray[Any], split: Split
) -> Score:
    scorer = SCORERS.create(problem.spec.training.metric)
    return scorer.score(*voted(task.predictions(outputs, inputs), split.y, split.sequence))


def counted(split: Split) -> str:
    """Return the number of samples in words: "370 samples", or "370 sequences by votes of 512 windows"."""
    if split.sequence is None:
        return f"{len(split)} samples"
    return f"{split.sequences} sequences by votes of {len(split)} windows"
