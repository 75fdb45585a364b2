"""The measurements of a finished network: validation error, costs with their provenance, and differences from the plan."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from sparsemod.data import Split
from sparsemod.pipeline import training_memory
from sparsemod.pipeline.on_device import linked_size, measure_on_device
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import measured_costs
from sparsemod.quantization import Quantized
from sparsemod.records import Measurement
from sparsemod.sequences import Padded, call
from sparsemod.training.metrics import METRICS
from sparsemod.training.votes import voted
from sparsemod.units import over_budget

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


def measurements(work: "Work", module: nn.Module, network: Quantized) -> list[Measurement]:
    """Return error and costs of `network`, and the error of `module` before quantization.

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
    score = METRICS.create(problem.spec.training.metric).score(*voted(outputs, split.y, split.sequence))
    floating = Measurement(
        metric="float_error", value=score.value, unit="fraction", method=f"float network before quantization on {counted(split)}",
        target="host", split="validation", standard_error=score.standard_error,
    )  # fmt: skip
    for name in problem.spec.objectives:
        if name in work.planned and by_metric[name].value != work.planned[name].value:
            work.notes.append(
                f"{name}: planned {work.planned[name].value:g}, measured {by_metric[name].value:g} {by_metric[name].unit}"
            )
    values = {name: measurement.value for name, measurement in by_metric.items()}
    for name, excess in problem.objectives.over_budget(values).items():
        work.notes.append(f"{over_budget(name, excess)}; the plan before training was within the budget")
    return [network_error(problem, network, work.data.validation), floating, *by_metric.values()]


def network_error(problem: Problem, network: Quantized, split: Split) -> Measurement:
    """Return the spec's metric of `network` on `split`, with its standard error."""
    metric = problem.spec.training.metric
    outputs = network.logits(split.x, split.lengths)
    score = METRICS.create(metric).score(*voted(outputs, split.y, split.sequence))
    return Measurement(
        metric="error",
        value=score.value,
        unit="fraction",
        method=f"{'' if metric.name == 'error' else f'{metric.name} of the '}{network.title} on {counted(split)}",
        target="host",
        split="test" if split.name == "test" else "validation",
        standard_error=score.standard_error,
    )


def counted(split: Split) -> str:
    """Return the number of samples in words: "370 samples", or "370 sequences by votes of 512 windows"."""
    if split.sequence is None:
        return f"{len(split)} samples"
    return f"{split.sequences} sequences by votes of {len(split)} windows"
